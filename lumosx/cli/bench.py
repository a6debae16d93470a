"""`lumosx bench`: scores of personalised videos, their report and comparison, the paper's ablation, attention."""

import typer

from lumosx.cli import bench_ablation, bench_attention, bench_backends, bench_compare, bench_report, bench_run

app = typer.Typer(help="Score videos of several people, report and compare the scores.", no_args_is_help=True)
app.command("run")(bench_run.command)
app.command("report")(bench_report.command)
app.command("compare")(bench_compare.command)
app.command("ablation")(bench_ablation.command)
app.command("attention")(bench_attention.command)
app.command("backends")(bench_backends.command)
