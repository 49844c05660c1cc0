"""`hermes completion`: the script with which a shell completes commands, options and their values."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from hermes.cli.context import new_app

app = new_app("Print the script that completes commands in your shell.")
app.info.no_args_is_help = False

VARIABLE = "_HERMES_COMPLETE"
"""Set by the script when the shell asks; `main` answers then."""

HOW = {
    "bash": '# put this into ~/.bashrc:  eval "$(hermes completion bash)"\n',
    "zsh": '# put this into ~/.zshrc, behind compinit:  eval "$(hermes completion zsh)"\n',
    "fish": "# once:  hermes completion fish > ~/.config/fish/completions/hermes.fish\n",
}


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@app.callback(invoke_without_command=True)
def completion(shell: Annotated[Shell, typer.Argument(help="bash, zsh or fish.")]) -> None:
    """Print the script that completes commands in your shell. Its first line says where it goes."""
    from typer._completion_shared import get_completion_script

    print(HOW[shell.value] + get_completion_script(prog_name="hermes", complete_var=VARIABLE, shell=shell.value))
