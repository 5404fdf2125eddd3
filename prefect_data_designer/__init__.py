"""The folder `flows` under the name that it is installed by."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_folder = Path(__file__).parents[1] / "flows"
_spec = spec_from_file_location(
    __name__, _folder / "__init__.py", submodule_search_locations=[str(_folder)]
)
assert _spec is not None and _spec.loader is not None
sys.modules[__name__] = _module = module_from_spec(_spec)
_spec.loader.exec_module(_module)
