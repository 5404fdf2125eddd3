"""The schema of a dataset: how types are unified, and how arrays are converted to the common type.

Every table of a dataset is written batch by batch, and a batch sees only its own values. The rules
here decide which type holds the values of all batches without changing one of them:

- A value is never changed into another one. Null goes with every type.
- Numbers take the smallest type that holds both exactly. Integers become floats only if every one
  of them is exactly representable.
- Lists unify their items, and objects their members; a missing member is null.
- Lists with items of one type have a fixed size only if every one of them has that size.
- Everything else becomes text: a string stays as it is, and any other value is written as JSON.
  Inside an object, only the member becomes text; a list becomes text as a whole.
"""

from dd_core.storage.schema.conversion import (
    build_lists,
    convert_array,
    find_empty_objects,
    fit_type,
    is_written_as_text,
    report_conflict,
    widen_type,
)
from dd_core.storage.schema.readable import EMPTY_OBJECTS, is_marked, make_readable
from dd_core.storage.schema.unification import (
    is_any,
    is_list,
    is_text,
    make_vectors,
    normalize_type,
    unify_or_text,
    unify_types,
)

__all__ = [
    "EMPTY_OBJECTS",
    "build_lists",
    "convert_array",
    "find_empty_objects",
    "fit_type",
    "is_any",
    "is_list",
    "is_marked",
    "is_text",
    "is_written_as_text",
    "make_readable",
    "make_vectors",
    "normalize_type",
    "report_conflict",
    "unify_or_text",
    "unify_types",
    "widen_type",
]
