import numpy as np
import pytest

from mosaic.evaluation.store import FeatureStore


def test_features_come_back_and_outlive_the_store(tmp_path):
    features = {
        "a": {"vectors": np.ones((3, 4), np.float32), "kept": np.array([True, False, True])},
        "b": {"vectors": np.zeros((0, 4), np.float32)},
    }
    FeatureStore(tmp_path).add(features)
    again = FeatureStore(tmp_path)
    assert set(again) == {"a", "b"} and len(again) == 2 and "c" not in again
    np.testing.assert_array_equal(again["a"]["vectors"], np.ones((3, 4)))
    assert again["a"]["kept"].dtype == bool
    assert again["b"]["vectors"].shape == (0, 4)


def test_a_store_sees_what_another_process_added(tmp_path):
    mine, other = FeatureStore(tmp_path), FeatureStore(tmp_path)
    other.add({"a": {"value": np.array([1.0], np.float32)}})
    assert "a" not in mine
    mine.refresh()
    assert mine["a"]["value"] == 1


def test_nothing_half_written_is_read(tmp_path):
    (tmp_path / "x.partial").write_bytes(b"half")
    assert len(FeatureStore(tmp_path)) == 0


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"x\.safetensors is damaged .*remove it"):
        FeatureStore(tmp_path)


def test_a_feature_without_arrays_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must hold an array"):
        FeatureStore(tmp_path).add({"a": {}})
