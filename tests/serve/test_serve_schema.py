"""The OpenAPI schema says what the service does: schemathesis asks what it allows, and what it does not."""

import pytest
from hypothesis import HealthCheck, given, settings
from schemathesis import openapi
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

ROUTES = ("/v1/score", "/v1/inspect", "/v1/explain", "/v1/models", "/health", "/ready", "/metrics")


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_each_answer_is_one_that_the_schema_names(app_with, mode):
    named = openapi.from_asgi("/openapi.json", app_with()[1], headers={"Host": "localhost"})
    seen: dict[str, set[int]] = {}
    for found in named.get_all_operations():
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and operation.method == "get":
            continue  # takes nothing that could be wrong
        seen[operation.path] = set()

        @settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(operation.as_strategy(generation_mode=mode))
        def ask(case):
            case.headers = {**(case.headers or {}), "Host": "localhost"}
            # whether bytes are a picture that has a map no schema tells
            of_bytes = [positive_data_acceptance] if case.operation.path == "/v1/explain" else []
            answer = case.call_and_validate(excluded_checks=of_bytes)
            seen[case.operation.path].add(answer.status_code)

        ask()
    if mode is GenerationMode.POSITIVE:
        assert sorted(seen) == sorted(ROUTES)
        # a route that answered nothing but refusals would agree with any schema
        assert 200 in seen["/v1/score"] and 200 in seen["/v1/inspect"] and 200 in seen["/v1/models"], seen
    else:
        # whether a wrong request was taken, `negative_data_rejection` has asked of each
        assert len(seen) == 3 and all({400, 422} & statuses for statuses in seen.values()), seen
