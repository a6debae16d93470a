"""`lumosx curate`: raw videos in, a data set for training out."""

import typer

from lumosx.cli import curate_data, curate_run

app = typer.Typer(help="Make training data out of raw videos, look at it, and take things out.", no_args_is_help=True)
app.command("run")(curate_run.run)
app.command("plan")(curate_run.plan)
app.command("report")(curate_data.report)
app.command("review")(curate_data.review)
app.command("pack")(curate_data.pack)
app.command("erase")(curate_data.erase)
