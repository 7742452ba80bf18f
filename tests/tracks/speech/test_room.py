import math

import numpy as np
import pytest

from kdarena.tracks.speech.room import Room, Surroundings, draw_noise, draw_room, far_field, impulse_response, noise_samples

RATE = 8000


@pytest.fixture
def room() -> Room:
    return Room("room", (5.0, 4.0, 3.0), (1.0, 1.5, 1.2), (3.5, 2.5, 1.6), 0.4, seed=3)


def test_the_first_reflections_are_those_of_the_mirror_images(room: Room):
    response = impulse_response(room, RATE)
    direct = math.dist(room.talker, room.microphone)
    # the floor's, the ceiling's and two walls' images, mirrored by hand
    for axis, wall in ((2, 0.0), (2, 3.0), (0, 0.0), (1, 4.0)):
        image = list(room.talker)
        image[axis] = 2 * wall - image[axis]
        distance = math.dist(image, room.microphone)
        at = round((distance - direct) / 343 * RATE)
        assert response[at] >= room.reflection * direct / distance - 1e-9
    assert response[0] == 1


def test_a_reflection_is_as_loud_as_its_walls_and_its_way_leave_it():
    # so large a box that nothing but the floor answers within the first 10 ms
    room = Room("hall", (60.0, 60.0, 40.0), (30.0, 30.0, 1.0), (33.0, 30.0, 1.0), 4.0, seed=0)
    response = impulse_response(room, RATE)
    way = math.hypot(3.0, 2.0)
    at = round((way - 3.0) / 343 * RATE)
    assert response[at] == pytest.approx(room.reflection * 3.0 / way)
    assert np.count_nonzero(response[1:80]) == 1


def test_sound_decays_by_60_db_over_the_reverberation_time():
    room = Room("room", (5.0, 4.0, 3.0), (1.0, 1.5, 1.2), (3.5, 2.5, 1.6), 0.6, seed=5)
    response = impulse_response(room, RATE)
    tail = response[int(0.04 * RATE) :]
    energy = np.cumsum(tail[::-1] ** 2)[::-1]
    # the slope of Schroeder's integral over the first half of the tail
    half = len(tail) // 2
    slope = np.polyfit(np.arange(half) / RATE, 10 * np.log10(energy[:half]), 1)[0]
    assert -60 / slope == pytest.approx(0.6, rel=0.25)


def test_the_tail_goes_on_where_the_reflections_end(room: Room):
    response = impulse_response(room, RATE)
    before, behind = response[int(0.02 * RATE) : int(0.04 * RATE)], response[int(0.04 * RATE) : int(0.06 * RATE)]
    decay = math.exp(-2 * math.log(1000) * 0.02 / room.reverberation)
    assert np.mean(behind**2) / np.mean(before**2) == pytest.approx(decay, rel=0.6)


def test_rooms_are_drawn_with_talker_and_microphone_inside_and_apart():
    random = np.random.RandomState(0)
    for number in range(50):
        drawn = draw_room(f"room{number}", random)
        for place in (drawn.talker, drawn.microphone):
            assert all(0.5 - 1e-3 <= coordinate <= edge - 0.5 + 1e-3 for coordinate, edge in zip(place, drawn.size, strict=True))
        assert math.dist(drawn.talker, drawn.microphone) >= 1.0 and 0.2 <= drawn.reverberation <= 0.5 and 0 < drawn.reflection < 1


def test_noise_has_unit_power_and_its_own_spectrum():
    noise = draw_noise("noise", np.random.RandomState(1))
    samples = noise_samples(noise, 4 * RATE, RATE)
    assert np.mean(samples**2) == pytest.approx(1)
    power = np.abs(np.fft.rfft(samples)) ** 2
    bands = 10 * np.log10([part.mean() for part in np.array_split(power, 16)])
    asked = np.interp(np.linspace(1 / 32, 31 / 32, 16), np.linspace(0, 1, 9), noise.levels)
    assert np.corrcoef(bands, asked)[0, 1] > 0.95


@pytest.mark.parametrize("ratio", [0.0, 10.0, 20.0])
def test_noise_is_at_its_ratio_to_the_reverberant_speech(ratio: float, room: Room):
    random = np.random.RandomState(0)
    close, noise, response = random.standard_normal(3000).astype(np.float32), random.standard_normal(3000), impulse_response(room, RATE)
    heard = far_field(close, response, noise, ratio)
    speech = np.convolve(close, response)[:3000]
    # least squares takes the mixture apart
    (wanted, unwanted), *_ = np.linalg.lstsq(np.stack([speech, noise], axis=1), heard, rcond=None)
    found = 10 * np.log10(np.mean((wanted * speech) ** 2) / np.mean((unwanted * noise) ** 2))
    assert found == pytest.approx(ratio, abs=0.05)
    assert np.mean(heard**2) == pytest.approx(np.mean(close**2), rel=1e-6)


def test_silence_stays_silent(room: Room):
    heard = far_field(np.zeros(500, np.float32), impulse_response(room, RATE), np.ones(500), 10.0)
    assert not heard.any()


def test_what_is_heard_hangs_on_the_generator_alone_and_is_as_long_as_the_speech():
    close = np.random.RandomState(0).standard_normal(50000).astype(np.float32)
    one, other = (Surroundings("train", 3, 2, 5, RATE).hear(close, np.random.RandomState(7)) for _ in range(2))
    assert len(one.samples) == len(close) and np.array_equal(one.samples, other.samples)
    assert one.room.startswith("train-room") and one.noise.startswith("train-noise")
