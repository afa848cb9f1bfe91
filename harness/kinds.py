"""Unions of frozen dataclasses told apart by their `kind`: the registry of every family (pooling, loss, suite, backend).

`Annotated[Mean | LastToken, BY_KIND]` is read by the type checker, the editor and `harness.config.decode`. The marker
stands here, without pydantic, because `models/` must import on a machine that has none; pydantic calls the method below
when it builds a decoder, and only then.
"""

from __future__ import annotations

from typing import Any, get_args


class ByKind:
    """Marks a union whose members carry `kind: Literal["name"]`; decoding an unknown kind lists the known ones."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.tagged_union_schema(
            {kind_of(member): handler.generate_schema(member) for member in get_args(source) or (source,)}, discriminator="kind"
        )


BY_KIND = ByKind()


def kind_of(member: Any) -> str:
    """The kind a member of a union stands for: the one value of its `kind` annotation."""
    from typing import get_type_hints

    return str(get_args(get_type_hints(member)["kind"])[0])


def members(union: Any) -> tuple[Any, ...]:
    """The dataclasses of an annotated union, in the order written; contract tests run over them."""
    inner = get_args(union)[0]
    return get_args(inner) or (inner,)
