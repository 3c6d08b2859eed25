"""HAProxy in front of the gateways of one's own hosts.

Decides how long it waits (as long as the gateways do), that the head's gateway is the last to be asked, and when a gateway is out: when it
does not answer `/health`. A gateway that answers 503 there is alive and lacks an engine for some model, as all the others do: it stays in,
or the other models would go too.
"""

from configs.inventory import Inventory, OnPrem
from configs.schema import Gateway

LINES = """\
# In front of the gateways of the herd `{name}`. Made by `herd cluster emit`. TLS is yours to add: `bind :443 ssl crt FILE`.
global
    log stdout format raw local0 notice
    # Two for each connection: 20,000 connections where the system gives that many (`ulimit -Hn`), else as many as it gives.
    fd-hard-limit 40100

defaults
    mode http
    log global
    option redispatch
    retries 2
    # A gateway that is lost before the first byte of its answer: another one is asked, once more. Generating has no other effect.
    retry-on conn-failure empty-response
    timeout connect 2s
    # For the head of a request only; its body has the gateways' own limit.
    timeout http-request {header_s}s
    timeout queue 30s
    # An answer may be silent for as long as a gateway waits for its engine.
    timeout client {total_s}s
    timeout server {total_s}s

frontend herd
    bind :{bind}
    # The gateways' own pages name every replica's address: they are for operators, who ask a gateway itself.
    acl own_pages path,regsub(/+,/,g) -m beg /-/
    acl own_pages path,url_dec,regsub(/+,/,g) -m beg /-/
    acl own_pages path,regsub(/+,/,g) -m reg ^/status/?$
    acl own_pages path,url_dec,regsub(/+,/,g) -m reg ^/status/?$
    http-request return status 404 content-type application/json string '{refusal}' if own_pages
    default_backend gateways

backend gateways
    balance leastconn
    option forwardfor
    option httpchk
    http-check send meth GET uri /health
    # 503 means that some model has no engine, on every gateway alike: the gateway itself is well.
    http-check expect status 200,503
    default-server check inter 2s fall 2 rise 1
"""


#: In OpenAI's shape, as every error of a gateway's.
REFUSAL = (
    '{"type":"error","error":{"message":"This page is not for clients.","type":"invalid_request_error","param":null,"code":"unknown_path"}}'
)


def load_balancer(name: str, inventory: Inventory, hosts: OnPrem, gateway: Gateway) -> str:
    """The configuration file. Every host has gateways, the head too; where two others are left, its own serve only when these do not."""
    spare = " backup" if len(hosts.workers) > 1 else ""  # who loses the head then loses no stream
    # Gateways have a certificate for the name that clients use, not for their own addresses.
    secure = " ssl verify none" if gateway.tls is not None else ""
    addresses = enumerate((hosts.head, *hosts.workers))
    head, *workers = (f"    server node-{index} {address}:{gateway.port}{secure}" for index, address in addresses)
    limits = gateway.limits
    # HAProxy knows no fractions, and must not give up before a gateway tells why.
    said = LINES.format(
        refusal=REFUSAL, name=name, bind=inventory.balancer_port, header_s=int(limits.header_s) + 1, total_s=int(limits.total_s) + 10
    )
    return said + "\n".join([head + spare, *workers]) + "\n"
