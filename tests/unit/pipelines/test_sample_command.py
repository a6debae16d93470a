"""`lumosx sample` and `lumosx replay`: exit codes, what is skipped, and what a kill leaves behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_models import in_memory, write_scene

from lumosx.cli import main as cli
from lumosx.pipelines import LumosXPipeline, Result
from lumosx.pipelines.memory import set_up_of
from lumosx.scene import Scene

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The program: exit code, standard output and standard error."""

    def program(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lumosx", *map(str, arguments)])
        monkeypatch.setenv("LUMOSX_DEBUG", "0")
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        code = caught.value.code
        assert code is None or isinstance(code, int)
        return code or 0, out, err

    return program


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_scene_becomes_a_clip_a_sheet_and_a_sidecar(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    scene, out = write_scene(tmp_path), tmp_path / "out"
    code, said, _ = run("sample", scene, "--model", tiny_checkpoint, "--out", out)
    assert code == 0
    assert names(out) == {"two_men_s7.mp4", "two_men_s7.png", "two_men_s7.json"}
    paths = [str(out / f"two_men_s7.{end}") for end in ("mp4", "png", "json")]
    attention, finished, *listed = said.splitlines()
    assert attention.startswith("attention: sdpa (exact")
    assert finished == f"finished {', '.join(paths)}"
    assert listed == ["wrote", *(f"  {path}" for path in paths)]


def test_a_second_run_names_finished_files_and_draws_a_deleted_sheet_again(
    run: Run, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ("sample", write_scene(tmp_path), "--model", tiny_checkpoint, "--out", out)
    run(*arguments)
    paths = [out / f"two_men_s7.{end}" for end in ("mp4", "png", "json")]
    with Image.open(paths[1]) as sheet:
        size = sheet.size
    paths[1].unlink()
    code, said, _ = run(*arguments)
    assert code == 0
    assert said.splitlines() == [
        f"{paths[0]}: finished, skipped (--force samples it again)", *(f"  {path}" for path in paths)
    ]  # fmt: skip
    with Image.open(paths[1]) as sheet:
        assert sheet.size == size


def test_a_seed_given_twice_is_exit_2(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    scene = write_scene(tmp_path)
    code, _, err = run("sample", scene, "--model", tiny_checkpoint, "--out", tmp_path / "out", *["--seed", 1] * 2)
    assert code == 2 and "a seed twice" in err
    assert not (tmp_path / "out").exists()


def test_clips_without_sidecars_are_sampled_anew_and_said_to_be(
    run: Run, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    scene = write_scene(tmp_path, output={"sidecar": False})
    for _ in range(2):
        code, said, _ = run("sample", scene, "--model", tiny_checkpoint, "--out", tmp_path / "out", "--no-sheet")
        assert code == 0 and "sampled anew each time" in said and "finished, skipped" not in said


def test_finished_clips_are_skipped_and_others_are_not(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    scene, out = write_scene(tmp_path), tmp_path / "out"
    arguments = ("sample", scene, "--model", tiny_checkpoint, "--out", out, "--no-sheet")
    run(*arguments, "--seed", 1)
    sidecar = out / "two_men_s1.json"
    first = sidecar.stat().st_mtime_ns
    code, said, _ = run(*arguments, "--seed", 1, "--seed", 2)
    assert code == 0
    assert "two_men_s1.mp4: finished, skipped" in said
    assert names(out) == {f"two_men_s{n}.{end}" for n in (1, 2) for end in ("mp4", "json")}
    assert sidecar.stat().st_mtime_ns == first
    run(*arguments, "--seed", 1, "--force")
    assert sidecar.stat().st_mtime_ns > first


@pytest.mark.parametrize("change", ["settings", "picture", "prompt", "clip"])
def test_a_clip_of_something_else_is_not_finished(run: Run, tiny_checkpoint: Path, tmp_path: Path, change: str) -> None:
    scene, out = write_scene(tmp_path), tmp_path / "out"
    arguments = ["sample", scene, "--model", tiny_checkpoint, "--out", out, "--no-sheet"]
    run(*arguments)
    if change == "settings":
        arguments += ["--set", "generation.steps=2"]
    elif change == "picture":
        in_memory("green").save(tmp_path / "blue.png")
    elif change == "prompt":
        data = json.loads(scene.read_text())
        scene.write_text(json.dumps(data | {"prompt": data["prompt"] + " It rains."}))
    else:
        (out / "two_men_s7.mp4").write_bytes(b"torn")
    code, said, _ = run(*arguments)
    assert (code, "skipped" in said) == (0, False)
    steps = json.loads((out / "two_men_s7.json").read_text())["settings"]["steps"]
    assert steps == (2 if change == "settings" else 3)


def test_other_seeds_in_the_scene_leave_finished_ones_finished(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    arguments = ("--model", tiny_checkpoint, "--out", tmp_path / "out", "--no-sheet")
    run("sample", write_scene(tmp_path, generation={"seeds": [1]}), *arguments)
    _, said, _ = run("sample", write_scene(tmp_path, generation={"seeds": [1, 2]}), *arguments)
    assert "s1.mp4: finished" in said and "s2.mp4" in said


def test_the_scenes_output_section_is_honoured(
    run: Run, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    output = {"dir": "clips/today", "name": "{id}-{seed}", "format": "gif"}
    scene = write_scene(tmp_path, output=output)
    assert run("sample", scene, "--model", tiny_checkpoint, "--seed", 4)[0] == 0
    assert names(tmp_path / "clips" / "today") == {"two_men-4.gif", "two_men-4.png", "two_men-4.json"}


def test_all_problems_of_all_scenes_at_once(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    bad = write_scene(tmp_path / "a", id="bad", prompt="Nobody on a street.")
    good = write_scene(tmp_path / "b")
    missing = tmp_path / "none.yaml"
    code, _, err = run("sample", bad, good, missing, "--model", tiny_checkpoint, "--out", tmp_path / "out")
    assert code == 2
    assert "LX110" in err and "bad.json" in err and "none.yaml" in err
    assert not (tmp_path / "out").exists()


def test_set_is_checked_like_the_file(run: Run, tmp_path: Path) -> None:
    scene = write_scene(tmp_path)
    code, _, err = run("sample", scene, "--set", "generation.step=3")
    assert code == 2 and "LX002" in err and "steps" in err
    code, _, err = run("sample", scene, "--set", "generation.frames=8")
    assert code == 2 and "LX003" in err and "5 or 9" in err
    code, _, err = run("sample", scene, "--set", "subjects.7.word=man")
    assert code == 2 and "subjects.7.word" in err
    code, _, err = run("sample", scene, "--set", "steps")
    assert code == 2 and "KEY=VALUE" in err


def test_lines_of_the_file_stay_and_an_override_is_its_own_place(run: Run, tmp_path: Path) -> None:
    write_scene(tmp_path)
    data = {**json.loads((tmp_path / "two_men.json").read_text()), "background": {"word": "beach", "image": "gray.png"}}
    scene = tmp_path / "scene.json"
    scene.write_text(json.dumps(data, indent=0))
    line = scene.read_text().splitlines().index('"word": "beach",') + 1
    code, _, err = run("sample", scene, "--set", "generation.steps=2", "--set", "subjects.0.strength=much")
    assert code == 2
    assert f"{scene}:{line} background.word: 'beach' does not occur" in err
    assert f"E LX003 {scene} --set subjects.0.strength=much subjects[0].strength" in err


def test_an_override_can_mend_what_the_file_says(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    scene = write_scene(tmp_path, generation={"steps": 0})
    arguments = ("sample", scene, "--model", tiny_checkpoint, "--out", tmp_path / "out", "--no-sheet")
    assert run(*arguments)[0] == 2
    assert run(*arguments, "--set", "generation.steps=2")[0] == 0


def test_set_reaches_into_lists(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    arguments = ("--model", tiny_checkpoint, "--out", tmp_path, "--set", "subjects.1.strength=0.5")
    assert run("sample", write_scene(tmp_path), *arguments)[0] == 0
    entities = json.loads((tmp_path / "two_men_s7.json").read_text())["entities"]
    assert [e["strength"] for e in entities if e["subject"] == "carl"] == [0.5, 0.5]


def test_two_clips_of_one_name_are_an_error(run: Run, tmp_path: Path) -> None:
    first, second = write_scene(tmp_path / "a"), write_scene(tmp_path / "b")
    code, _, err = run("sample", first, second, "--out", tmp_path / "out")
    assert code == 2 and "LX103" in err and str(first) in err
    fixed = write_scene(tmp_path / "c", output={"name": "clip"})
    code, _, err = run("sample", fixed, "--seed", 1, "--seed", 2)
    assert code == 2 and "LX103" in err and "{seed}" in err


def test_consent_can_be_required(run: Run, tmp_path: Path) -> None:
    code, _, err = run("sample", write_scene(tmp_path), "--require-consent")
    assert code == 2 and "LX230" in err and "carl" in err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--model", "no/such/model", "checkpoint no/such/model"),
        ("--device", "quantum", "--device quantum"),
        ("--dtype", "int8", "float32 or bfloat16"),
        ("--backend", "warp", "warp"),
        ("--batch", "0", "'--batch'"),
        ("--guidance", "both", "'together'"),
        ("--step-cache", "all", "choose none, first-block"),
        ("--offload", "disk", "'group'"),
        ("--offload", "model", "nothing to offload to"),
        ("--quantize", "int4", "'int8'"),
        ("--quantize", "fp8", "choose int8"),
    ],
)
def test_wrong_options_are_exit_2(
    run: Run, tiny_checkpoint: Path, tmp_path: Path, option: str, value: str, message: str
) -> None:
    model = () if option == "--model" else ("--model", tiny_checkpoint)
    code, _, err = run("sample", write_scene(tmp_path), "--out", tmp_path / "out", *model, option, value)
    assert code == 2
    assert message in err


def test_options_that_exclude_each_other_are_exit_2_before_a_weight_is_read(
    run: Run, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LumosXPipeline, "from_pretrained", None)
    arguments = ("sample", write_scene(tmp_path), "--model", tiny_checkpoint, "--out", tmp_path / "out")
    monkeypatch.setattr("lumosx.cli.sample.choose_device", lambda *_: (torch.device("cuda"), torch.bfloat16))
    code, _, err = run(*arguments, "--step-cache", "taylorseer:2", "--offload", "group")
    assert code == 2 and "--step-cache does not go with --offload group" in err
    code, _, err = run(*arguments, "--offload", "group", "--compile")
    assert code == 2 and "offload group does not go with compile" in err


def test_options_reach_the_pipeline(
    run: Run, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, found = {}, {}

    def stream(pipeline: LumosXPipeline, scene: Scene, **call: object) -> Iterator[Result]:
        asked.update(call)
        found.update(set_up_of(pipeline))
        yield from ()

    monkeypatch.setattr(LumosXPipeline, "stream", stream)
    arguments = ("sample", write_scene(tmp_path), "--model", tiny_checkpoint, "--out", tmp_path / "out")
    assert run(*arguments)[0] == 0
    alone = {"ranks": 1, "progress": True}
    assert asked == {"seeds": [7], "backend": "auto", "guidance": "auto", "batch": 1, "step_cache": None, **alone}
    assert found == {"tiling": False, "quantize": None, "compile": False}
    calling = ("--guidance", "apart", "--batch", 2, "--step-cache", "taylorseer:2", "--backend", "sdpa")
    assert run(*arguments, *calling, "--quantize", "int8", "--tiling")[0] == 0
    stated = {"backend": "sdpa", "guidance": "apart", "batch": 2, "step_cache": "taylorseer:2"}
    assert asked == {"seeds": [7], **stated, **alone}
    assert found == {"tiling": True, "quantize": "int8", "compile": False}


def test_a_quantised_clip_is_another_clip(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    arguments = ("sample", write_scene(tmp_path), "--model", tiny_checkpoint, "--out", tmp_path / "out", "--no-sheet")
    for options, skipped in (
        ((), False),
        (("--quantize", "int8"), False),
        (("--quantize", "int8"), True),
        (("--quantize", "none"), False),
    ):
        code, said, _ = run(*arguments, *options)
        assert (code, "finished, skipped" in said) == (0, skipped), options


def test_a_quantised_clip_is_replayed_quantised(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    run("sample", write_scene(tmp_path), "--model", tiny_checkpoint, "--out", tmp_path, "--quantize", "int8")
    code, said, _ = run("replay", tmp_path / "two_men_s7.json")
    assert code == 0 and "identical" in said


def test_a_prompt_too_long_for_the_checkpoint_is_exit_2_before_sampling(
    run: Run, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    long = write_scene(
        tmp_path, id="long", prompt="very " * 60 + json.loads(write_scene(tmp_path).read_text())["prompt"]
    )
    longer = write_scene(tmp_path, id="longer", prompt="so " + json.loads(long.read_text())["prompt"])
    scenes = (write_scene(tmp_path), long, longer)
    code, _, err = run("sample", *scenes, "--model", tiny_checkpoint, "--out", tmp_path / "out")
    assert code == 2 and "LX113" in err and "long.json" in err and "longer.json" in err
    assert not (tmp_path / "out").exists()


def test_problems_are_found_before_torch_is_imported(tmp_path: Path) -> None:
    scene = write_scene(tmp_path, prompt="Nobody on a street.")
    code = (
        "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules))\n"
        "from lumosx.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "sample", str(scene)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (2, "False"), done.stderr


def test_replay_is_exit_0_when_identical_and_1_with_reasons(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    run("sample", write_scene(tmp_path), "--model", tiny_checkpoint, "--out", tmp_path)
    sidecar = tmp_path / "two_men_s7.json"
    code, said, _ = run("replay", sidecar)
    assert code == 0 and "identical" in said
    in_memory("green").save(tmp_path / "blue.png")
    code, said, _ = run("replay", sidecar)
    assert code == 1 and "the picture of carl.face has changed" in said
    code, _, err = run("replay", tmp_path / "blue.png")
    assert code == 2 and "not a sidecar" in err


def test_replay_saves_the_new_clip_and_finds_moved_pictures(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    scenes = tmp_path / "scenes"
    run("sample", write_scene(scenes), "--model", tiny_checkpoint, "--out", tmp_path)
    sidecar = tmp_path / "two_men_s7.json"
    scenes.rename(tmp_path / "moved")
    assert run("replay", sidecar)[0] == 1
    code, said, _ = run("replay", sidecar, "--root", tmp_path / "moved", "--out", tmp_path / "again")
    assert code == 0 and str(tmp_path / "again" / "two_men_s7.mp4") in said
    assert names(tmp_path / "again") == {"two_men_s7.mp4", "two_men_s7.json"}
    assert run("replay", tmp_path / "again" / "two_men_s7.json")[0] == 0
    before = sidecar.read_bytes()
    code, _, err = run("replay", sidecar, "--root", tmp_path / "moved", "--out", tmp_path)
    assert code == 2 and "another folder" in err
    assert sidecar.read_bytes() == before


HANGS_HALF_WAY = """
import time
from lumosx.pipelines import video

def half(frames, path, fps, tags):
    path.write_bytes(b"half of a clip")
    print("half", flush=True)
    time.sleep(60)

video.WRITERS = {".mp4": half}
from lumosx.cli.main import main
main()
"""


def test_a_kill_while_saving_leaves_no_half_clip(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["sample", str(write_scene(tmp_path)), "--model", str(tiny_checkpoint), "--out", str(out), "--no-sheet"]
    child = subprocess.Popen([sys.executable, "-c", HANGS_HALF_WAY, *arguments], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert "half\n" in iter(child.stdout.readline, "")
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert all(name.startswith(".") for name in names(out))
    code, said, _ = run(*arguments)
    assert code == 0 and "skipped" not in said
    assert {"two_men_s7.mp4", "two_men_s7.json"} <= names(out)
    assert run("replay", out / "two_men_s7.json")[0] == 0
