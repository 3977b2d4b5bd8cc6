"""What a source is refused for is told with what is wrong, where, and what to do; nothing is changed."""

import pytest

from tests.services.sources.given import World

pytestmark = pytest.mark.services


def test_a_file_that_is_nested_too_deeply_is_told_and_not_tried_again_as_it_is(world: World) -> None:
    world.add()
    commit = world.repository.push(catalog__deep_yaml="[" * 3000)
    place = f"team@{commit[:12]}:catalog/deep.yaml:1"
    assert world.poll()[0].error == f"{place}: YAML: nested too deeply; expected at most 100 levels"
    refused = world.source()
    assert refused.refused_tree == world.repository.git("rev-parse", f"{commit}:catalog").strip()
    later = world.repository.push(README="nothing of the catalog")
    assert place in world.poll()[0].error, "as it was told first, for it was not read again"
    assert (world.source().seen_commit, world.source().error_since) == (later, refused.error_since)
    assert world.cases() == {"dns"}
