"""Secrets are struck out of every error, log, printed line and resolved spec; what is shown commands no terminal."""

import copy
import json
import logging
import subprocess
import sys
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdot.cli import Plain
from blockdot.errors import DataError, SpecError
from blockdot.jobs.run_directory import RunDirectory
from blockdot.jobs.spec import Job, load_job
from blockdot.redaction import redacted

KEY = "-----BEGIN PRIVATE KEY-----\nhunter2hunter2\n-----END PRIVATE KEY-----"

SHOWN = {
    "no scheduler at tls://ada:hunter2@10.0.0.1:8786 (refused)": "no scheduler at tls://***@10.0.0.1:8786 (refused)",
    "s3://hunter2@bucket/day.csv": "s3://***@bucket/day.csv",
    "/here/https:/ada:hunter2@host/x": "/here/https:/***@host/x",
    "https://ada:hunter/2@host/x": "https://***@host/x",
    "https://h/x?a=1&X-Amz-Signature=hunter2&b=2": "https://h/x?a=1&X-Amz-Signature=***&b=2",
    "https://h/x?sig=hunter2": "https://h/x?sig=***",
    "https://h/x?key=hunter2 is missing": "https://h/x?key=*** is missing",
    "--set store.password=hunter2": "--set store.password=***",
    "AWS_SECRET_ACCESS_KEY='hunter2 3'": "AWS_SECRET_ACCESS_KEY=***",
    'api_key = "hunter2"': "api_key = ***",
    '{"token": "hunter2", "rows": 3}': '{"token": ***, "rows": 3}',
    "{'secret': 'hunter2'}": "{'secret': ***}",
    "Authorization: Basic aHVudGVyMg==": "Authorization: Basic ***",
    "Bearer hunter2hunter2hunter2": "Bearer ***",
    f"cannot use {KEY} here": "cannot use -----BEGIN PRIVATE KEY----- *** here",
    repr(KEY): "'-----BEGIN PRIVATE KEY----- ***'",
    KEY[:40]: "-----BEGIN PRIVATE KEY----- ***",
}  # fmt: skip


@pytest.mark.parametrize("text", SHOWN)
def test_secrets_are_struck_out(text):
    assert redacted(text) == SHOWN[text]
    assert "hunter2" not in redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "day.csv:3: column 'token': found 'x', needed a number",
        "hashed = ['token', 'password']",
        "secrets and tokens: 3 of 4 rows",
        "tls://127.0.0.1:8786",
        "https://host/a@b/c.csv",
        "max_tokens = 512",
        "[features.derive] token = { column = 'when' }",
        "the keys are a = 1, b = 2",
        "two\nlines\tand a tab, and Zeichen wie ä, × and 日",
    ],
)
def test_other_text_is_left_alone(text):
    assert redacted(text) == text


WORD = st.text(st.characters(codec="ascii", categories=["L", "N"], include_characters="-_.~!$&*+"), min_size=6)


@given(st.sampled_from(["tls", "https", "s3", "postgresql+psycopg"]), WORD, WORD, st.text(max_size=20))
def test_no_password_in_a_url_is_ever_shown(scheme, user, password, after):
    shown = redacted(f"before {scheme}://{user}:{password}@host/{after}")
    assert f"{password}@" not in shown
    assert shown.startswith(f"before {scheme}://***@host")


@given(st.text())
def test_what_is_shown_commands_no_terminal_and_is_shown_the_same_again(text):
    shown = redacted(text)
    assert not any((ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 for c in shown)
    assert redacted(shown) == shown


def test_errors_carry_no_secret_wherever_they_go():
    error = SpecError("the input 's3://ada:hunter2@bucket' leads to no file")
    for text in (str(error), repr(error), repr(error.args), str(copy.copy(error))):
        assert "hunter2" not in text
        assert "***" in text
    assert str(DataError("found '\x1b[2J'")) == "found '\\x1b[2J'"


def test_printed_lines_and_the_log(tmp_path, capsys):
    text = "reading s3://ada:hunter2@bucket/day.csv"
    Plain(quiet=False).say(text)
    directory = RunDirectory(tmp_path / "run")
    with directory.opened(Plain(quiet=False).say):
        logging.getLogger("blockdot.somewhere").info("reading %s", "s3://ada:hunter2@bucket/day.csv")
    log = json.loads(directory.log.read_text())["message"]
    assert capsys.readouterr().err.strip() == log == "reading s3://***@bucket/day.csv"


SPEC = {"job": {"name": "t"}, "data": {"format": "svmlight", "train": "a.svm"}, "model": {"kind": "logistic"}}


def test_the_resolved_spec_is_toml_without_the_secrets():
    data = {
        "format": "csv",
        "train": ["https://ada:hunter2@host/a.csv?token=hunter2", "b.csv"],
        "label": {"column": "token", "rule": "> 0"},
    }
    features = {"hashed": ["token", "password"], "derive": {"token": {"column": "secret", "part": "hour"}}}
    text = Job.model_validate(SPEC | {"data": data, "features": features}).to_toml()
    assert "hunter2" not in text
    found = tomllib.loads(text)
    assert found["data"]["train"] == ["https://***@host/a.csv?token=***", "b.csv"]
    assert found["features"]["derive"]["token"]["column"] == "secret"


def test_a_job_with_credentials_in_its_input(blockdot, job, tmp_path):
    secret = "https://ada:hunter2@host/day.svm?X-Amz-Signature=hunter2"
    done = blockdot("run", *job(tmp_path / "run", **{"data.train": secret}))
    assert done.returncode == 2
    assert "https://***@host/day.svm?X-Amz-Signature=***" in done.stderr
    left = [path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()]
    for text in (done.stdout.encode(), done.stderr.encode(), *left):
        assert b"hunter2" not in text


def test_a_wrong_value_that_is_a_secret(tmp_path):
    spec = tmp_path / "job.toml"
    spec.write_text('[job]\nname = "t"\n[data]\nformat = "svmlight"\ntrain = "a"\n[model]\nkind = "logistic"\n')
    settings = [f"cluster.wait_seconds='''{KEY}'''", "cluster.address=tcp://ada:hunter2@127.0.0.1:1", "job.passwort=1"]
    with pytest.raises(SpecError) as caught:
        load_job(spec, settings)
    assert "wait_seconds" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_mistake_of_ours_is_told_without_secrets():
    code = (
        "import click, blockdot.cli as cli\n"
        "@cli.main.command()\n"
        "def fail():\n    raise ZeroDivisionError('at tls://ada:hunter2@host:1')\n"
        "import sys; sys.argv = ['blockdot', 'fail']; cli.entry()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError: at tls://***@host:1" in done.stderr
