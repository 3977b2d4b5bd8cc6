"""Load, timetables and warnings of bindings."""

from datetime import UTC, datetime

from kubeprobe.catalog.forecast import ClusterFacts, ForecastInput, runs_per_hour, timetables, warnings
from kubeprobe.catalog.model import BindingSpec, ProbeCaseSpec, RenderConfigSpec

NOW = datetime(2026, 11, 23, 12, 0, 1, tzinfo=UTC)
EU = ClusterFacts("eu-1", {"region": "eu"}, "default", 30)
US = ClusterFacts("us-1", {"region": "us"}, "default", 30)


def binding(periodic, cases=("dns",), region=None, **spec):
    selector = {"matchLabels": {"region": region}} if region else {}
    given = {"cases": list(cases), "clusters": {"selector": selector}, "on": {"periodic": periodic}, **spec}
    return BindingSpec.model_validate(given)


def world(clusters=(EU, US), configs=None, run="90s", **bindings):
    names = {case for spec in bindings.values() for case in spec.cases}
    case = {"template": "probes", "kind": "blackbox", "timeouts": {"run": run}}
    return ForecastInput(
        bindings=bindings,
        cases={name: ProbeCaseSpec.model_validate(case) for name in names},
        render_configs={name: RenderConfigSpec.model_validate(spec) for name, spec in (configs or {}).items()},
        clusters=clusters,
    )


def test_runs_per_hour_add_up_by_cluster():
    given = world(all=binding({"every": "5m"}, ["dns", "http"]), eu=binding({"cron": "*/30 * * * *"}, region="eu"))
    assert runs_per_hour(given, NOW) == {"eu-1": 26.0, "us-1": 24.0}


def test_paused_bindings_cost_nothing():
    assert runs_per_hour(world(all=binding({"every": "5m"}, paused=True)), NOW) == {"eu-1": 0.0, "us-1": 0.0}


def test_a_rare_cron_is_averaged_over_its_own_times():
    daily, yearly = binding({"cron": "30 2 * * *"}), binding({"cron": "0 0 1 1 *"})
    assert runs_per_hour(world(clusters=[EU], a=daily), NOW)["eu-1"] == 0.04
    assert runs_per_hour(world(clusters=[EU], a=yearly), NOW)["eu-1"] == 0.0


def test_a_timetable_shows_five_base_times_and_the_spread():
    given = world(
        night=binding(
            {"cron": "30 2 * * *", "timeZone": "Europe/Berlin", "spread": "10m"}, ["dns", "http"], region="eu"
        ),
        often=binding({"every": "5m"}),
        sharp=binding({"every": "1h", "offset": "7m"}),
    )
    night, often, sharp = timetables(given, NOW)
    assert (night.schedule, night.spread_s, night.schedules) == ("30 2 * * * Europe/Berlin", 600.0, 2)
    assert [time.isoformat() for time in night.times][:2] == ["2026-11-24T01:30:00+00:00", "2026-11-25T01:30:00+00:00"]
    assert (often.schedule, often.spread_s, len(often.times)) == ("every 5m", 300.0, 5)
    assert often.times[0] == datetime(2026, 11, 23, 12, 5, tzinfo=UTC)
    assert (sharp.spread_s, sharp.times[0]) == (0.0, datetime(2026, 11, 23, 12, 7, tzinfo=UTC))


def test_a_binding_that_matches_no_cluster_causes_a_warning():
    assert warnings(world(asia=binding({"every": "5m"}, region="asia")), NOW) == [
        "Binding 'asia' matches no cluster and will not run"
    ]


def test_an_unbound_case_causes_a_warning():
    given = world(all=binding({"every": "5m"}))
    unbound = ForecastInput(given.bindings, {**given.cases, "http": given.cases["dns"]}, {}, given.clusters)
    assert warnings(unbound, NOW) == ["no Binding runs ProbeCase 'http'; it runs only on request"]


def test_more_concurrent_pods_than_a_clusters_limit_cause_a_warning():
    small = ClusterFacts("small", {}, "default", 2)
    found = warnings(world(clusters=[small, EU], all=binding({"every": "30s"})), NOW)
    assert len(found) == 1
    assert found[0].startswith("Cluster 'small' may have 3 probe pods at a time")
    assert "its limit is 2" in found[0]


def test_an_ambiguous_render_config_causes_a_warning():
    configs = {"a": {"for": "dns"}, "b": {"for": "dns"}}
    assert "set renderConfig" in warnings(world(configs=configs, all=binding({"every": "5m"})), NOW)[0]
    assert warnings(world(configs=configs, all=binding({"every": "5m"}, renderConfig="a")), NOW) == []
    many = {f"config-{number}": {"for": "dns"} for number in range(10)}
    assert "and 6 more for 'dns'" in warnings(world(configs=many, all=binding({"every": "5m"})), NOW)[0]


def test_a_binding_with_nodes_runs_once_for_each_node_of_a_slot():
    nodes = (({"zone": "a"}, False), ({"zone": "a"}, False), ({"zone": "b"}, False), ({"zone": "a"}, True))
    large = ClusterFacts("large", {}, "default", 30, nodes)
    every = binding({"every": "1h"}, nodes={})
    some = binding({"every": "1h"}, nodes={"sample": 2})
    zone = binding({"every": "1h"}, nodes={"selector": {"matchLabels": {"zone": "b"}}, "sample": 2})
    assert [runs_per_hour(world([large], one=one), NOW)["large"] for one in (every, some, zone)] == [3.0, 2.0, 1.0]
    assert warnings(world([large], one=every), NOW) == []


def test_the_load_of_unknown_nodes_is_estimated_with_a_warning():
    given = world([EU], one=binding({"every": "1h"}, nodes={"sample": 3}))
    assert runs_per_hour(given, NOW) == {"eu-1": 3.0}
    assert warnings(given, NOW) == [
        "Binding 'one': the nodes of 1 cluster are not known yet; the load there is estimated with 3 nodes"
    ]


def test_a_binding_that_matches_no_node_causes_a_warning():
    bare = ClusterFacts("bare", {}, "default", 30, (({}, False),))
    given = world([bare], gpus=binding({"every": "1h"}, nodes={"selector": {"matchLabels": {"gpu": "yes"}}}))
    assert warnings(given, NOW) == ["Binding 'gpus' matches no node of bare and will not run there"]
