"""Drives the stand-in with Feldera's own Python SDK; its address is the first argument.

What only newer SDKs have is tried where it is there.
"""

import inspect
import sys
from importlib.metadata import version

from feldera import FelderaClient, Pipeline, PipelineBuilder
from feldera.enums import (
    BootstrapPolicy,
    PipelineStatus,
    ProgramStatus,
    StorageStatus,
)
from feldera.rest.errors import FelderaAPIError

TABLES = """
CREATE TABLE students (id INT NOT NULL PRIMARY KEY, name VARCHAR) WITH (
    'connectors' = '[{"name": "generated", "transport": {
        "name": "datagen", "config": {"plan": [{"limit": 50}]}}}]');
CREATE TABLE grades (student INT, grade INT) WITH ('materialized' = 'true');
"""
OLD = (
    TABLES
    + """
CREATE MATERIALIZED VIEW best WITH (
    'connectors' = '[{"name": "sink", "transport": {"name": "null_output"}}]'
) AS SELECT student, MAX(grade) AS grade FROM grades GROUP BY student;
"""
)
NEW = OLD.replace("MAX(grade)", "MIN(grade)") + "CREATE VIEW names AS SELECT name FROM students;"
DEADLINE = 20


def refused(code, call, *args, **kwargs):
    """The call must fail with this error code."""
    try:
        call(*args, **kwargs)
    except FelderaAPIError as error:
        assert error.error_code == code, f"{error.error_code}, not {code}: {error}"
        return error
    raise AssertionError(f"{code} was expected")


def main():
    client = FelderaClient(sys.argv[1], api_key="sdk-key", timeout=10, connection_timeout=10)
    config = client.get_config()
    assert config.version == "0.337.0", config.version

    broken = PipelineBuilder(client, "broken", sql="CREATE VIEW v AS SELECT * FROM nosuch")
    try:
        broken.create()
        raise AssertionError("a program that doesn't compile was accepted")
    except RuntimeError as error:
        assert "Object 'nosuch' not found" in str(error), error

    pipeline = PipelineBuilder(client, "school", sql=OLD, tags=["a"]).create()
    assert pipeline.program_status() == ProgramStatus.Success
    assert pipeline.status() == PipelineStatus.STOPPED
    assert pipeline.storage_status() == StorageStatus.CLEARED
    assert {t.name for t in pipeline.tables()} == {"students", "grades"}
    assert {v.name for v in pipeline.views()} == {"best"}
    refused("PipelineInteractionNotDeployed", client.http.get, "/pipelines/school/checkpoints")

    pipeline.start(timeout_s=DEADLINE)
    assert pipeline.status() == PipelineStatus.RUNNING
    pipeline.wait_for_completion(timeout_s=DEADLINE)
    token = pipeline.input_json("grades", [{"student": n, "grade": n} for n in range(20)])
    if hasattr(client, "completion_status"):
        status = client.completion_status("school", token)
        assert status["status"] == "complete" and status["step"] > 0, status
    assert list(pipeline.query("select count(*) as c from grades")) == [{"c": 20}]
    assert list(pipeline.query("select count(*) as c from students")) == [{"c": 50}]
    assert pipeline.stats().global_metrics.total_processed_records == 70
    pipeline.checkpoint(wait=True, timeout_s=DEADLINE)
    assert len(pipeline.checkpoints()) == 1

    refused("UpdateRestrictedToStopped", pipeline.modify, sql=NEW)
    pipeline.modify(description="may change at any time", tags=["b"])
    assert pipeline.description() == "may change at any time"
    pipeline.pause(timeout_s=DEADLINE)
    pipeline.resume(timeout_s=DEADLINE)
    assert pipeline.logs() is not None

    preview = pipeline.diff(NEW)
    assert preview["program_diff"]["modified_views"] == ["best"], preview

    pipeline.stop(force=False, timeout_s=DEADLINE)
    pipeline.modify(sql=NEW)
    pipeline.start(bootstrap_policy=BootstrapPolicy.AWAIT_APPROVAL, timeout_s=DEADLINE)
    assert pipeline.status() == PipelineStatus.AWAITINGAPPROVAL, pipeline.status()
    assert pipeline.bootstrap_policy() == BootstrapPolicy.AWAIT_APPROVAL
    diff = pipeline.deployment_runtime_status_details()["approval_diff"]
    assert diff == preview, diff
    assert diff["program_diff"]["added_views"] == ["names"], diff
    refused(
        "InvalidBootstrapConfig",
        client.approve_pipeline,
        "school",
        silent_bootstrap=True,
        concurrent_bootstrap=True,
    )
    pipeline.approve()
    pipeline.wait_for_status(PipelineStatus.RUNNING, timeout=DEADLINE)
    assert list(pipeline.query("select count(*) as c from grades")) == [{"c": 20}]
    pipeline.checkpoint(wait=True, timeout_s=DEADLINE)

    if "reloadable_tables" in inspect.signature(pipeline.start).parameters:
        reloads_only_what_it_is_allowed_to(pipeline)

    assert "school" in [p.name for p in Pipeline.all(client)]
    pipeline.restart(timeout_s=DEADLINE)
    assert pipeline.status() == PipelineStatus.RUNNING
    refused("DeleteRestrictedToFullyStopped", pipeline.delete)
    pipeline.stop(force=True, timeout_s=DEADLINE)
    refused("DeleteRestrictedToClearedStorage", pipeline.delete)
    pipeline.clear_storage(timeout_s=DEADLINE)
    pipeline.delete()
    Pipeline.get("broken", client).delete()
    assert Pipeline.all(client) == []
    print(f"the SDK {version('feldera')} is content")


def reloads_only_what_it_is_allowed_to(pipeline):
    """The SDK itself reads the diff at the gate, and approves if it likes what it finds there."""
    from feldera.rest.errors import TableReloadNotAllowedError

    pipeline.stop(force=False, timeout_s=DEADLINE)
    pipeline.modify(sql=NEW.replace("grade INT)", "grade INT, term INT)"))
    allow = {"bootstrap_policy": BootstrapPolicy.ALLOW, "timeout_s": DEADLINE}
    try:
        pipeline.start(reloadable_tables=[], **allow)
        raise AssertionError("a table was reloaded that may not be")
    except TableReloadNotAllowedError as error:
        assert "grades" in str(error), error
    assert pipeline.status() == PipelineStatus.AWAITINGAPPROVAL, pipeline.status()
    pipeline.stop(force=True, timeout_s=DEADLINE)
    pipeline.start(reloadable_tables=["grades"], **allow)
    assert pipeline.status() == PipelineStatus.RUNNING, pipeline.status()
    assert list(pipeline.query("select count(*) as c from grades")) == [{"c": 0}]
    pipeline.checkpoint(wait=True, timeout_s=DEADLINE)


main()
