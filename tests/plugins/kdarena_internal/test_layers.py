"""Which layers belong together, and a student made of its teacher's layers."""

import pytest
import torch
from kdarena_internal.layers import embedder, encoder_layers, layer_map, start_from_teacher
from torch import nn

from kdarena import NotApplicable, Outputs


def outputs(layers, heads=2, width=8, length=3):
    maps, states = torch.zeros(1, heads, length, length), torch.zeros(1, length, width)
    return Outputs(torch.zeros(1, 2), attentions=(maps,) * layers, hidden=(states,) * (layers + 1))


class TestMap:
    def test_of_the_papers_pair_it_is_twice_the_layer(self):
        assert layer_map(outputs(6), outputs(12)) == (2, 4, 6, 8, 10, 12)

    @pytest.mark.parametrize(("ours", "theirs", "expected"), [(2, 6, (3, 6)), (3, 3, (1, 2, 3)), (1, 4, (4,))])
    def test_it_spreads_the_students_layers_evenly_up_to_the_teachers_last(self, ours, theirs, expected):
        assert layer_map(outputs(ours), outputs(theirs)) == expected

    @pytest.mark.parametrize(("ours", "theirs"), [(4, 6), (4, 2), (0, 4), (2, 0)])
    def test_layers_that_do_not_divide_are_refused_with_both_numbers(self, ours, theirs):
        with pytest.raises(NotApplicable, match=f"the student has {ours}, the teacher {theirs}"):
            layer_map(outputs(ours), outputs(theirs))

    def test_unequal_heads_are_refused(self):
        with pytest.raises(NotApplicable, match="2 heads, the teacher 4"):
            layer_map(outputs(2), outputs(4, heads=4))

    def test_unequal_widths_are_refused(self):
        with pytest.raises(NotApplicable, match="8 entries in a hidden state, the teacher 12"):
            layer_map(outputs(2), outputs(4, width=12))


class TestStart:
    def networks(self, task, student="two", teacher="four"):
        torch.manual_seed(0)
        return task.new_network(student), task.new_network(teacher)

    def same(self, one, other):
        return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))

    def test_layers_and_embeddings_become_the_teachers_bit_by_bit(self, text_task):
        student, teacher = self.networks(text_task())
        start_from_teacher(student, teacher, (2, 4))
        assert self.same(student.embeddings, teacher.embeddings)
        assert self.same(student.encoder.layer[0], teacher.encoder.layer[1])
        assert self.same(student.encoder.layer[1], teacher.encoder.layer[3])

    def test_the_classifier_stays_fresh_and_nothing_is_shared(self, text_task):
        student, teacher = self.networks(text_task())
        fresh = student.classifier.weight.clone()
        start_from_teacher(student, teacher, (2, 4))
        assert torch.equal(student.classifier.weight, fresh)
        assert not {one.data_ptr() for one in student.parameters()} & {one.data_ptr() for one in teacher.parameters()}

    def test_other_shapes_are_refused_with_the_way_out(self, text_task):
        student, teacher = self.networks(text_task(), "two", "wide")
        with pytest.raises(NotApplicable, match="embeddings can't start from the teacher's.*from_teacher=false"):
            start_from_teacher(student, teacher, (1, 2))

    def test_a_network_whose_layers_can_not_be_told_is_refused(self, text_task):
        network, _ = self.networks(text_task())
        with pytest.raises(NotApplicable, match="has 0 lists of 5 modules"):
            encoder_layers(network, 5)
        network.decoder = nn.ModuleList(nn.Linear(1, 1) for _ in range(2))
        with pytest.raises(NotApplicable, match="has 2 lists of 2 modules"):
            encoder_layers(network, 2)

    def test_a_network_without_embeddings_is_refused(self):
        with pytest.raises(NotApplicable, match="0 submodules named 'embeddings'"):
            embedder(nn.Linear(1, 1))
