"""Defaults in the environment beside what is typed, which they must not break."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import click
from click.core import ParameterSource


def is_typed(name: str) -> bool:
    """Whether an option stands on the command line itself."""
    source = click.get_current_context().get_parameter_source(name)
    return source is ParameterSource.COMMANDLINE


def leave_out_defaults(chosen: dict[str, Any], names: Collection[str]) -> None:
    """Drop, in place, what only the environment says of some options that do not fit what is asked.

    A default must not break another choice; what is typed stays, to be refused or done.
    """
    context = click.get_current_context()
    for parameter in context.command.get_params(context):
        name = parameter.name
        source = context.get_parameter_source(name) if name in names else None
        if name is not None and source is ParameterSource.ENVIRONMENT:
            chosen[name] = _without_a_value(parameter, context)


def _without_a_value(parameter: click.Parameter, context: click.Context) -> object:
    """What a command is handed where nobody gave an option."""
    given = parameter.get_default(context)
    if isinstance(given, bool | int | float | str):
        return given
    return () if parameter.multiple and parameter.callback is None else None
