"""The command of a verb: an empty text, which no option or argument can be, is refused in one place."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from maskrcnn.errors import UserError


class Verb(TyperCommand):
    """A command that takes no "", as a variable of the shell that is not set leaves it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """
        Raises:
            UserError: an empty text, which as a path would be this folder; names the option or argument.
        """
        given = {} if ctx.resilient_parsing else self.make_parser(ctx).parse_args(args=list(args))[0]
        for param in self.params:
            value = given.get(param.name or "")
            if value == "" or (isinstance(value, list | tuple) and "" in value):
                name = param.opts[0] if param.opts[0].startswith("-") else getattr(param, "metavar", "")
                raise UserError(f"{name}: '' is an empty value; give one, or leave it out")
        return super().parse_args(ctx, args)
