"""Job specs that may be anyone's, and links where a run writes: nothing is written where it should not be."""

import contextlib
from pathlib import Path

import pytest

from blockdot.errors import SpecError
from blockdot.jobs.spec import load_job

pytestmark = pytest.mark.timeout(60)  # a pipe that is waited for would take for ever


SPEC = '[job]\nname = "t"\n{}[data]\nformat = "svmlight"\ntrain = "a.svm"\n[model]\nkind = "logistic"\n'


def spec_with(tmp_path, output):
    path = tmp_path / "job.toml"
    path.write_text(SPEC.format(output))
    return path


@pytest.mark.parametrize("output", ["../elsewhere", "runs/../../elsewhere", "/tmp/elsewhere", "a/../../../b"])
def test_an_output_that_leads_out_of_the_folder(output, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = spec_with(tmp_path, f'output = "{output}"\n')
    with pytest.raises(SpecError, match="leads out of the folder") as caught:
        load_job(spec)
    assert "--set job.output=" in str(caught.value)
    assert load_job(spec, [f"job.output={output}"]).output == Path(output), "what is typed is meant"


def test_an_output_behind_a_link_that_leads_out_of_the_folder(tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    spec = spec_with(here, "")
    (here / "runs").symlink_to(there)
    with pytest.raises(SpecError, match="leads out of the folder"):
        load_job(spec)
    (here / "runs").unlink()
    (here / "runs").symlink_to("runs")
    with pytest.raises(SpecError, match="leads out of the folder"):
        load_job(spec)
    (here / "runs").unlink()
    (here / "inner").mkdir()
    (here / "runs").symlink_to("inner")
    assert load_job(spec).output == Path("runs/t")


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../x", "a\n", ""])
def test_a_name_that_is_a_path(name, tmp_path):
    spec = spec_with(tmp_path, "")
    with pytest.raises(SpecError, match=r"\[job\] name"):
        load_job(spec, [f"job.name='''{name}'''" if "\n" in name else f"job.name='{name}'"])


@pytest.mark.parametrize("name", ["log.jsonl", ".lock", "stages"])
def test_links_in_a_run_directory_are_not_written_through(name, blockdot, job, tmp_path):
    out, victim = tmp_path / "run", tmp_path / "victim"
    out.mkdir()
    victim.mkdir() if name == "stages" else victim.write_text("precious")
    (out / name).symlink_to(victim)
    done = blockdot("run", *job(out))
    assert done.returncode == 2
    assert f"{out / name} is a symbolic link" in done.stderr
    assert victim.is_dir() and not any(victim.iterdir()) if name == "stages" else victim.read_text() == "precious"


@pytest.mark.parametrize("name", ["model", "metrics.json", "train.blocks", "predictions", ".metrics.json.partial"])
def test_links_in_the_place_of_results_are_replaced_or_refused(name, blockdot, job, tmp_path):
    out, victim = tmp_path / "run", tmp_path / "victim"
    out.mkdir()
    if name.endswith((".json", ".partial")):
        victim.write_text("precious")
    else:
        victim.mkdir()
        (victim / "file").write_text("precious")
    (out / name).symlink_to(victim)
    done = blockdot("run", *job(out))
    assert "Traceback" not in done.stderr
    kept = victim if victim.is_file() else victim / "file"
    assert kept.read_text() == "precious"
    assert victim.is_file() or list(victim.iterdir()) == [kept]
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "text",
    ["x = " + "[" * 50_000, "x = " + "9" * 10_000, "x = 2024-99-99", "a" * 10_000 + ".b" * 10_000 + " = 1",
     "\x00", "\ufeff", "[job]\nname = '\x1b[2J'\n", "[[job]]\n", "job = 3\n", "[model]\nkind = inf\n"],
)  # fmt: skip
def test_a_hostile_job_spec(text, tmp_path):
    path = tmp_path / "job.toml"
    path.write_text(text)
    with pytest.raises(SpecError, match=r"job\.toml") as caught:
        load_job(path)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("setting", ["model.alpha=" + "[" * 50_000, "data.train=" + "9" * 10_000, "job.name=\x00"])
def test_a_hostile_setting(setting, tmp_path):
    spec = spec_with(tmp_path, "")
    with contextlib.suppress(SpecError):
        assert "\x00" not in load_job(spec, [setting]).to_toml()
