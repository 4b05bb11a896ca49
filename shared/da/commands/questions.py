"""`da test`: whether metrics and tables still answer known questions rightly."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from da.mirror.workspace import Workspace
from da.options import Json
from da.output import print_json, say

Folder = Annotated[Path, typer.Argument(metavar="[FOLDER]", help="The folder of the files with questions.")]
Runs = Annotated[int, typer.Option("--runs", "-k", min=1, max=100, help="How often each question is answered.")]


def check(folder: Folder = Path("config/questions"), *, runs: Runs = 1, json: Json = False) -> None:
    """Test questions with known answers: run them through the agents' tools on the mirror, and compare the results.

    A file has a list of questions, each with sql or metric (by, where, grain), and expected (a value or rows) or
    expected_sql. A question counts as right if all its runs are right. Exit codes: 0 all are right, 1 some are wrong.

    Examples:
      da test
      da test config/questions --runs 5
    """
    from da import questions
    from da.agents.tools import Tools
    from da.mirror_warehouse import MirrorWarehouse

    asked = questions.read(folder)
    workspace = Workspace.find()
    tools = Tools(MirrorWarehouse(workspace), datetime.now(UTC), marking=False)
    scores = []
    for score in questions.run(asked, tools, runs):
        scores.append(score)
        if not json:
            say(
                f"{'right' if score.is_right else 'WRONG'}  {score.question}{f': {score.problem}' if score.problem else ''}"
            )
    right = sum(score.is_right for score in scores)
    snapshot = workspace.state().snapshot
    if json:
        print_json(
            {
                "snapshot": snapshot,
                "right": right,
                "total": len(scores),
                "questions": [each.to_json() for each in scores],
            }
        )
    else:
        say(f"{right} of {len(scores)} right, over the snapshot {snapshot}, {runs} runs each.")
    if right < len(scores):
        raise typer.Exit(1)
