"""Queues with many servers in closed form: Erlang B, C and A, of any arrays.

Erlang A (Palm 1957) is M/M/c+M: callers give up after an exponential time. With `a = c mu / theta` and
`eta = lambda / theta` its integral `J(t)` is an incomplete gamma function (Mandelbaum and Zeltyn 2007, "Service
engineering in action: the Palm/Erlang-A queue", section 4):

    J(t) = integral from t of exp(eta (1 - exp(-theta u)) - c mu u) du = exp(eta) eta^-a g(a, eta exp(-theta t)) / theta

where `g` is the lower incomplete gamma function. Rates are per unit of time, whichever it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc, hyp1f1

Floats = NDArray[np.float64]


def erlang_b(load: Any, servers: int) -> Floats:
    """Share of calls that find all of `0 … servers` servers busy and are turned away, `[servers + 1, ...]`.

    Args:
        load: Offered load [erlangs], `[...]`, 0 or more.
        servers: Most servers.
    """
    load = np.asarray(load, np.float64)
    found = np.ones((servers + 1, *load.shape))
    for count in range(1, servers + 1):
        found[count] = load * found[count - 1] / (count + load * found[count - 1])
    return found


def erlang_c(load: Any, servers: int) -> Floats:
    """Share of calls that must wait where nobody gives up, with `0 … servers` servers, `[servers + 1, ...]`.

    It is 1 where servers are no more than the load. The mean wait is this times `1 / (c mu - lambda)`.

    Args:
        load: Offered load [erlangs], `[...]`, 0 or more.
        servers: Most servers.
    """
    load, blocked = np.asarray(load, np.float64), erlang_b(load, servers)
    count = np.arange(servers + 1).reshape(-1, *(1,) * load.ndim)
    stable = count > load
    spare = np.where(stable, count - load, 1.0)
    return np.where(stable, count * blocked / (spare + load * blocked), 1.0)


@dataclass(frozen=True)
class ErlangA:
    """What becomes of calls in an M/M/c+M queue in its steady state, `[...]` each.

    Attributes:
        waits: Share that must wait.
        abandons: Share that gives up.
        wait: Mean time in the queue, of all calls.
        prompt: Share that is answered within the limit.
    """

    waits: Floats
    abandons: Floats
    wait: Floats
    prompt: Floats


def erlang_a(calls: Any, handled: Any, given_up: Any, servers: Any, blocked: Any, limit: Any = 0.0) -> ErlangA:
    """Solves queues whose callers lose patience.

    Args:
        calls: Arrival rate `lambda`, above 0.
        handled: Service rate `mu` of a server.
        given_up: Rate `theta` at which one who waits gives up.
        servers: Number of servers `c`, 0 or more.
        blocked: `erlang_b` of the load with one server less; of no account where there is none.
        limit: Time within which calls should be answered.
    """
    calls, theta = np.asarray(calls, np.float64), np.asarray(given_up, np.float64)
    some = np.asarray(servers) > 0
    pace = np.where(some, servers, 1) * np.asarray(handled, np.float64)
    first, eta = pace / theta, calls / theta
    integral = hyp1f1(1.0, first + 1.0, eta) / pace  # exp(eta) eta^-a g(a, eta) / theta, without its large factors
    free = 1.0 / np.maximum(blocked, 1e-300)
    total = free + calls * integral
    waits, abandons = calls * integral / total, (1.0 + (calls - pace) * integral) / total
    # Of those who wait, the share that is offered a server before the limit, each with the chance that it is still
    # there: exp(-theta v) raises the first argument of the incomplete gamma function by one.
    whole = gammainc(first, eta)
    later = gammainc(first + 1.0, eta) - gammainc(first + 1.0, eta * np.exp(-theta * limit))
    reached = np.where(whole > 1e-250, first / eta * later / np.where(whole > 1e-250, whole, 1.0), 1.0)
    prompt = 1.0 - waits + waits * np.clip(reached, 0.0, 1.0)
    return ErlangA(
        np.where(some, waits, 1.0),
        np.where(some, np.clip(abandons, 0.0, 1.0), 1.0),
        np.where(some, np.clip(abandons, 0.0, 1.0), 1.0) / theta,
        np.where(some, prompt, 0.0),
    )
