"""Everything georefer raises on purpose.

    GeoreferError
    ├── InputError      what the user gave cannot be used: a file, a value, a folder (exit code 2)
    │   ├── ConfigError     a recipe: unknown key, wrong type, value out of range
    │   ├── RasterError     imagery: missing, corrupt, without the bands asked for
    │   ├── VectorError     a layer: missing, without CRS, empty, away from the imagery
    │   ├── DatasetError    a dataset folder: no manifest, damaged, made by another version
    │   └── CheckpointError a model folder: missing files, not the model the recipe describes
    └── MissingExtra    a capability needs an optional dependency that is not installed (exit code 2)

A message is one sentence in three parts: what was found, what was expected, what to do. Anything that is
not a GeoreferError is a bug of ours and keeps its traceback. Text that a *model* wrote never raises: it
becomes a `Reading` with problems.
"""


class GeoreferError(Exception):
    """Root of all deliberate errors; `str(error)` is fit to be shown to a user as it is."""


class InputError(GeoreferError):
    """Something the user gave cannot be used."""


class ConfigError(InputError):
    """A recipe or setting is wrong."""


class RasterError(InputError):
    """Imagery cannot be used."""


class VectorError(InputError):
    """A vector layer cannot be used."""


class DatasetError(InputError):
    """A dataset folder cannot be used."""


class CheckpointError(InputError):
    """A model folder cannot be used."""


class MissingExtra(GeoreferError):
    """An optional dependency is absent."""

    def __init__(self, capability: str, extra: str):
        super().__init__(
            f"{capability} needs packages that are not installed; they come with the extra '{extra}': "
            f"run  pip install 'georefer[{extra}]'"
        )
