import subprocess
import sys
from pathlib import Path

import pytest

from alexnet_repro import CLAIMS, cli, tables


def call(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("alexnet-repro")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def test_claims_lists_every_claim_with_its_verdict():
    done = call("claims")
    assert done.returncode == 0
    assert all(f"{name}: {claim.statement}" in done.stdout for name, claim in CLAIMS.items())


def test_claims_updates_a_page_with_links_that_hold_from_where_it_lies(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"{tables.CLAIMS_BEGIN}\n{tables.CLAIMS_END}\n")
    assert call("claims", "--update", str(page)).returncode == 0
    links = [part.partition(")")[0] for part in page.read_text().split("](")[1:]]
    assert len(links) == len(CLAIMS)
    assert all((tmp_path / link).resolve().is_file() for link in links)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "gelu"], "claim must be one of"),
        (["run", "relu", "--scale", "huge"], "scale of relu must be one of"),
        (["run", "relu", "--seeds", "many"], "not 'many'"),
        (["run", "relu", "--scale", "paper", "--data-root", "nowhere"], "CIFAR-10 (train) was not found in nowhere"),
    ],
)
def test_what_a_user_can_mend_ends_in_a_message_without_a_traceback(arguments, message, tmp_path):
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_run_reports_every_record_and_where_they_lie(make_record, monkeypatch, capsys, tmp_path):
    record = make_record("relu", 3, [0.2], 0.9, top1_error=0.31)
    asked = {}

    def run_claim(claim, scale, seeds, on_record, **arguments):
        asked.update(arguments, claim=claim, scale=scale, seeds=seeds)
        on_record(record)
        return [record]

    monkeypatch.setattr(cli, "run_claim", run_claim)
    monkeypatch.setattr(
        sys, "argv", ["alexnet-repro", "run", "tiny", "--seeds", "3,4", "--arms", "relu", "--out", str(tmp_path)]
    )
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert asked["seeds"] == [3, 4]
    assert asked["arms"] == ["relu"]
    assert asked["out"] == tmp_path
    out = capsys.readouterr().out
    assert "relu-seed3.json: train_error 0.2, epochs_to_target 0.9, top1_error 0.31 (1 epochs, 1 s)" in out
    assert f"1 records in {tmp_path / 'tiny' / 'smoke'}" in out
