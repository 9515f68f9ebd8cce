"""The workflows of .github, which no run here executes: what they call is what is executed here."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from project import pythons

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.yml"))}

each_workflow = pytest.mark.parametrize("name", WORKFLOWS)


def jobs(name: str) -> list[dict]:
    return list(WORKFLOWS[name]["jobs"].values())


def steps(name: str) -> list[dict]:
    return [step for job in jobs(name) for step in job["steps"]]


def test_the_workflows_are_those_that_the_book_needs():
    assert set(WORKFLOWS) == {"tests", "book", "links", "newest"}


def test_actionlint_has_no_complaint():
    command = [Path(sys.executable).with_name("actionlint"), "-no-color", *FOLDER.glob("*.yml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@each_workflow
def test_every_command_is_a_target_of_make_or_a_line_of_the_checks(name):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(" ".join(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)).split())
    checks = {line.strip() for line in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()}
    commands = [line for step in steps(name) for line in step.get("run", "").splitlines()]
    assert commands
    for command in commands:
        program, *words = command.split()
        called = {word for word in words if "=" not in word}
        assert command in checks or (program == "make" and called and called <= targets), command


def test_the_checks_of_a_pull_request_are_those_of_the_local_checks():
    local = re.findall(r"^make .*$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
    remote = [step["run"] for name in ("tests", "book") for step in steps(name) if "run" in step]
    assert set(local) <= set(remote)


@each_workflow
def test_where_tests_run_the_whole_history_is_there(name):
    for job in jobs(name):
        tested = any(word in step.get("run", "") for step in job["steps"] for word in ("make test", ".ci/run"))
        checkouts = [step.get("with", {}) for step in job["steps"] if "checkout" in step.get("uses", "")]
        assert not tested or [options.get("fetch-depth") for options in checkouts] == [0]


@each_workflow
def test_a_job_ends_in_time_and_may_write_only_what_it_says(name):
    workflow = WORKFLOWS[name]
    assert workflow["permissions"]["contents"] == "read"
    granted = [pair for part in (workflow, *jobs(name)) for pair in part.get("permissions", {}).items()]
    written = {scope for scope, level in granted if level == "write"}
    assert written == {"book": {"pages", "id-token"}, "links": {"issues"}}.get(name, set())
    assert all(job["timeout-minutes"] <= 120 for job in jobs(name))
    assert workflow["concurrency"]["group"]
    assert workflow["defaults"]["run"]["shell"] == "bash"  # with -e and pipefail


@each_workflow
def test_actions_are_github_s_own_and_pinned_to_a_major_version(name):
    used = [step["uses"] for step in steps(name) if "uses" in step]
    assert used
    assert [action for action in used if not re.fullmatch(r"actions/[\w-]+@v\d+", action)] == []


def test_the_oldest_and_the_newest_python_that_are_allowed_are_tested():
    found = WORKFLOWS["tests"]["jobs"]
    assert found["tests"]["strategy"]["matrix"]["python"] == [pythons()[0], pythons()[-1]]
    set_up = [step["with"] for step in found["oldest"]["steps"] if "setup-python" in step.get("uses", "")]
    assert [options["python-version"] for options in set_up] == pythons()[:1]
