"""The hash is the same for ever: golden vectors, and a plain-Python reference."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.hashing import code_hash, cross_hash, field_seed, missing_hash, text_hash

MASK = (1 << 64) - 1


def mix(h):
    h = ((h ^ (h >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    h = ((h ^ (h >> 27)) * 0x94D049BB133111EB) & MASK
    return h ^ (h >> 31)


def reference_text_hash(data, seed):
    m = 0xC6A4A7935BD1E995
    h = seed ^ (len(data) * m & MASK)
    for i in range(0, len(data), 8):
        word = int.from_bytes(data[i : i + 8], "little") * m & MASK
        word = (word ^ (word >> 47)) * m & MASK
        h = (h ^ word) * m & MASK
    return mix(h)


def reference_code_hash(code, seed):
    return mix(seed ^ mix((code * 0x9E3779B97F4A7C15 + 0x636F6465636F6465) & MASK))


def reference_cross_hash(a, b):
    h = (a ^ (b * 0x9E3779B97F4A7C15 & MASK)) * 0xD6E8FEB86659FD93 & MASK
    return (h ^ (h >> 32)) * 0xD6E8FEB86659FD93 & MASK


def hash_text(data, seed):
    buffer = np.frombuffer(b"xy" + data + b"z", np.uint8)  # off alignment, with neighbours
    return int(text_hash(buffer, 2, 2 + len(data), np.uint64(seed)))


seeds = st.integers(0, MASK)


@given(st.binary(min_size=1, max_size=70), seeds)
def test_text_hash_is_the_reference_at_any_alignment(data, seed):
    assert hash_text(data, seed) == reference_text_hash(data, seed)


@given(st.integers(-(2**53), 2**53), seeds)
def test_code_hash_is_the_reference(code, seed):
    assert int(code_hash(code, np.uint64(seed))) == reference_code_hash(code, seed)


@given(seeds, seeds)
def test_cross_hash_is_the_reference(a, b):
    assert int(cross_hash(np.uint64(a), np.uint64(b))) == reference_cross_hash(a, b)


def test_golden_vectors_never_change():
    seed = field_seed("ad", 0)
    assert int(seed) == 0xC27C4F2F69E5EABE
    assert hash_text(b"hello world", int(seed)) == 0x027C18476DB42CE3
    assert int(code_hash(-3, seed)) == 0x94EE228555FC945C
    assert int(cross_hash(seed, seed)) == 0xBE9D43F2C9FA6013
    assert int(missing_hash(seed)) == 0x943C79363BC2E9E1
    assert hash_text("Größe ß 漢字".encode(), int(field_seed("site", 7))) == 0x9AA552A21974D455


def test_missing_is_no_text_and_no_code():
    seed = field_seed("ad", 0)
    others = {hash_text(b, int(seed)) for b in (b"missing", b"0", b"null", b" ")}
    others |= {int(code_hash(code, seed)) for code in range(-5, 5)}
    assert int(missing_hash(seed)) not in others


def test_top_bits_spread_evenly_over_buckets():
    seed = field_seed("user", 0)
    data = np.frombuffer(b"".join(b"u%07d" % i for i in range(20_000)), np.uint8)
    buckets = [int(text_hash(data, 8 * i, 8 * i + 8, seed)) >> 54 for i in range(20_000)]
    counts = np.bincount(buckets, minlength=1024)
    chi_squared = ((counts - 20_000 / 1024) ** 2 / (20_000 / 1024)).sum()
    assert 1023 - 5 * 45.2 < chi_squared < 1023 + 5 * 45.2  # mean and deviation of chi2(1023)


def test_crosses_of_a_grid_hardly_collide():
    a = [int(code_hash(i, field_seed("a", 0))) for i in range(300)]
    b = [int(code_hash(i, field_seed("b", 0))) for i in range(300)]
    crossed = {int(cross_hash(np.uint64(x), np.uint64(y))) >> 32 for x in a for y in b}
    assert len(crossed) >= 90_000 - 10  # expected collisions in 2**32: about one
