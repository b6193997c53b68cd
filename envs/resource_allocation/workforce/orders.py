"""What a team lead's actions mean: levels that the team is brought to, in roots of the load; and what is lent.

Staff is spoken of as square-root staffing has it, `R + beta sqrt(R)` for a load `R` (Halfin and Whitt 1981; with
impatience, Garnett, Mandelbaum and Reiman 2002): the right `beta` is much the same for ten workers and for a hundred.
Of its own skill a lead sets two levels, as is best where capacity costs something both ways (Eberly and Van Mieghem
1997): up to `beta_call` workers are called in, beside the load of the steps in which they will be there; and down to
`beta_home` they are sent home, beside the load of the next steps. Within the two nothing is done. As levels are
meant, not changes, trying something twice does no more than trying it once.

An action of 0 means `beta_call = 0` and `beta_home = 2`: only what is badly wrong is put right. At -1 nobody is called
in, or sent home, whatever happens; at 1 `beta_call` is 2 and `beta_home` is 0. Of another skill an action of 0
or less lends nobody, and 1 the largest share of the team that can be lent. Each has a place of its own among a skill's
three: what is learned of one says nothing of the others.
"""

from __future__ import annotations

import numpy as np

from envs.resource_allocation.workforce.outlook import Outlook, Window
from envs.resource_allocation.workforce.plan import Floats, Ints
from envs.resource_allocation.workforce.staff import Orders

CALL = (-3.0, 0.0, 2.0)
HOME = (4.0, 2.0, 0.0)
"""`beta` at actions of -1, 0 and 1."""
ENDS = (-1.0, 0.0, 1.0)


def wishes(chosen: Floats, outlook: Outlook, lent: float) -> tuple[Ints, Ints, Floats]:
    """Workers to be called in and sent home, `[B, S]` each, and the share of each team for each skill, `[B, S, S]`.

    Args:
        chosen: Actions in [-1, 1], `[B, S, 3 S]`: for each skill who is called in, sent home and lent.
        outlook: What is expected.
        lent: Largest share of a team that can be lent to a skill.
    """
    skills = chosen.shape[1]
    parts = chosen.reshape(*chosen.shape[:2], skills, 3)
    own = np.arange(skills)
    call, home = parts[:, own, own, 0], parts[:, own, own, 1]
    called, soon = outlook.called, outlook.soon
    more = np.floor(_level(called, np.interp(call, ENDS, CALL)) - called.staff + 0.5)
    fewer = np.floor(soon.staff - _level(soon, np.interp(home, ENDS, HOME)) + 0.5)
    share = lent * np.maximum(parts[..., 2], 0.0)
    return (
        np.where(call <= -1, 0, np.maximum(more, 0)).astype(np.int64),
        np.where(home <= -1, 0, np.maximum(fewer, 0)).astype(np.int64),
        share,
    )


def actions_of(orders: Orders, outlook: Outlook, duty: Floats, lent: float) -> Floats:
    """Actions, `[B, S, 3 S]`, that come to orders, or nearest to them.

    Args:
        orders: The orders.
        outlook: What is expected.
        duty: Workers on duty once those sent home are gone, `[B, S]`.
        lent: Largest share of a team that can be lent to a skill.
    """
    skills = duty.shape[1]
    own = np.arange(skills)
    parts = np.zeros((*duty.shape, skills, 3))
    share = orders.lent / np.maximum(duty, 1.0)[..., None]
    parts[..., 2] = np.clip(share / lent, 0.0, 1.0)
    called, soon = outlook.called, outlook.soon
    call = np.interp(_beta(called, called.staff + orders.call), CALL, ENDS)
    home = np.interp(-_beta(soon, soon.staff - orders.home), [-beta for beta in HOME], ENDS)
    parts[:, own, own, 0] = np.where(orders.call > 0, call, -1.0)
    parts[:, own, own, 1] = np.where(orders.home > 0, home, -1.0)
    return parts.reshape(*duty.shape, -1)


def _level(window: Window, beta: Floats) -> Floats:
    level: Floats = window.load + beta * np.sqrt(np.maximum(window.load, 1.0))
    return level


def _beta(window: Window, staff: Floats) -> Floats:
    beta: Floats = (staff - window.load) / np.sqrt(np.maximum(window.load, 1.0))
    return beta
