from probes.kube_proxy_rules.ipvs import parse
from probes.kube_proxy_rules.wanted import Front

TABLE = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A600001:01BB rr
  -> 0AC80001:192B      Masq    1      3          0
UDP  0A60000A:0035 rr persistent 10800
  -> 0AF40005:0035      Masq    1      0          0
  -> 0AF40006:0035      Masq    0      0          7
TCP  0AC80001:7580 rr
  -> 0AF40007:1F90      Masq    1      0          0
TCP  [fd00:0000:0000:0000:0000:0000:0000:0007]:0050 rr
  -> [fd01:0000:0000:0000:0000:0000:0000:0001]:1F90      Masq    1      0          0
"""


def test_the_ipvs_table_is_parsed_in_both_families_with_node_ports() -> None:
    assert parse(TABLE, {"10.200.0.1", "127.0.0.1"}, {30080}).fronts == {
        Front("10.96.0.1", "tcp", 443): {("10.200.0.1", 6443)},
        Front("10.96.0.10", "udp", 53): {("10.244.0.5", 53)},  # a weight of 0 gets no new connections
        Front("", "tcp", 30080): {("10.244.0.7", 8080)},
        Front("fd00::7", "tcp", 80): {("fd01::1", 8080)},
    }
