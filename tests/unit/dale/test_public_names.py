"""The public surface is what `__all__` says, sorted."""

import types

import dale


def test_exported_names() -> None:
    assert dale.__all__ == sorted(dale.__all__)
    public = {
        name
        for name, value in vars(dale).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public == set(dale.__all__)
