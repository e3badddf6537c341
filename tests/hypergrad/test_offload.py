"""What a store gives back: the same bits, laid out as they were."""

import pytest
import torch

from dreamprm.hypergrad.offload import OFFLOADS, DiskStore, open_store


def _tensors():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(3, 4, generator=generator)
    return {
        "float32": matrix,
        "float64": matrix.double(),
        "bfloat16": matrix.bfloat16(),
        "scalar": matrix[0, 0],
        "transposed": matrix.t(),
        "permuted": torch.randn(2, 3, 4, generator=generator).permute(2, 0, 1),
        "expanded": matrix[0].expand(5, 4),
        "strided": matrix[:, ::2],
        "empty": matrix[:0],
        "nonfinite": torch.tensor([float("nan"), float("inf"), -0.0]),
    }


def _bits(tensor):
    return tensor.contiguous().flatten().view(torch.uint8)


@pytest.mark.parametrize("offload", OFFLOADS)
def test_tensors_come_back_as_they_were(offload):
    tensors = _tensors()
    with open_store(offload) as store:
        kept = store.keep(tensors)
        other = store.keep({"another": torch.ones(7)})
        for _ in range(2):  # loading does not use them up
            loaded = kept.load()
            assert list(loaded) == list(tensors)
            for name, tensor in tensors.items():
                assert loaded[name].dtype == tensor.dtype and loaded[name].shape == tensor.shape
                assert torch.equal(_bits(loaded[name]), _bits(tensor))
            # a sum over another order of memory would have other bits
            assert loaded["permuted"].stride() == tensors["permuted"].stride()
            assert loaded["transposed"].stride() == tensors["transposed"].stride()
        assert torch.equal(other.load()["another"], torch.ones(7))


def test_what_is_on_disk_does_not_see_later_changes():
    tensors = {"w": torch.ones(3)}
    with open_store("disk") as store:
        kept = store.keep(tensors)
        assert store.copies(tensors)
        tensors["w"].zero_()
        assert torch.equal(kept.load()["w"], torch.ones(3))


@pytest.mark.parametrize("offload", ["none", "cpu"])
def test_cpu_tensors_are_held_and_not_copied(offload):
    tensors = {"w": torch.ones(3)}
    with open_store(offload) as store:
        assert not store.copies(tensors)
        kept = store.keep(tensors)
        assert kept.load()["w"] is tensors["w"]
        kept.drop()
        assert kept.load() == {}


def test_dropped_room_on_disk_is_used_again():
    with DiskStore() as store:
        for value in range(5):
            kept = store.keep({"a": torch.full((100,), float(value)), "b": torch.full((50,), float(value))})
            assert torch.equal(kept.load()["b"], torch.full((50,), float(value)))
            kept.drop()
        assert store.size == 600  # type: ignore[attr-defined]


def test_the_file_is_closed_with_the_store():
    with pytest.raises(KeyError), DiskStore() as store:
        raise KeyError
    with pytest.raises(ValueError, match="closed file"):
        store.keep({"a": torch.ones(2)})


def test_an_unknown_store_is_refused():
    with pytest.raises(ValueError, match="offload must be one of none, cpu, disk, got 'gpu'"):
        open_store("gpu")
