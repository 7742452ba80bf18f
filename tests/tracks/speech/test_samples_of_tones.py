"""What each test sample of ``tones`` adds to the ranked metric."""


def test_the_sums_over_the_test_samples_give_the_ranked_metric_in_a_few_kilobytes(tones_task, check_samples):
    check_samples(tones_task)
