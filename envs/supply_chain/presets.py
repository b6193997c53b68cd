"""Networks of four tiers in any size: suppliers of materials, factories, warehouses, shops."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.supply_chain.network import Network


def tiered(
    name: str,
    *,
    suppliers: int,
    products: int,
    factories: int,
    warehouses: int,
    shops: int,
    cv: float = 0.2,
    seed: int = 0,
) -> Network:
    """Draws a network.

    Every supplier brings one material, by a cheap lane and a fast one; every product is made of two, in one factory;
    every warehouse gets all products, every shop half of them, from one warehouse.

    Args:
        name: Name of the network.
        suppliers: Suppliers, and materials.
        products: Products.
        factories: Factories.
        warehouses: Warehouses.
        shops: Shops.
        cv: Coefficient of variation of demand, beside that of counts.
        seed: The same seed gives the same network.
    """
    rng = np.random.default_rng(seed)

    def some(low: float, high: float) -> float:
        return round(float(rng.uniform(low, high)), 2)

    materials = [f"material_{index}" for index in range(suppliers)]
    goods = [f"product_{index}" for index in range(products)]
    things: dict[str, Any] = {material: {"volume": some(0.5, 1.5)} for material in materials}
    value = {material: some(1, 4) for material in materials}
    maker = {good: f"factory_{index % factories}" for index, good in enumerate(goods)}
    for index, good in enumerate(goods):
        parts = {materials[index % suppliers]: 1.0}
        if suppliers > 1:
            further = 1 + index // suppliers % (suppliers - 1)
            parts[materials[(index + further) % suppliers]] = 2.0
        things[good] = {"recipe": parts, "volume": some(1, 3)}
        value[good] = round(1.5 * sum(units * value[part] for part, units in parts.items()) + some(1, 3), 2)
    sold = {
        f"shop_{s}": [good for g, good in enumerate(goods) if (g + s) % 2 == 0 or products == 1] for s in range(shops)
    }
    demand = {(shop, good): some(4, 12) for shop, carried in sold.items() for good in carried}
    home = {shop: f"warehouse_{index % warehouses}" for index, shop in enumerate(sold)}
    flow: dict[tuple[str, str], float] = {}

    def add(place: str, thing: str, amount: float) -> None:
        flow[place, thing] = flow.get((place, thing), 0.0) + amount

    for (shop, good), level in demand.items():
        add(shop, good, level)
        add(home[shop], good, level)
        add(maker[good], good, level)
        for part, units in things[good]["recipe"].items():
            add(maker[good], part, units * level)
            add(part.replace("material", "supplier"), part, units * level)

    def stock(place: str, steps: float) -> dict[str, float]:
        return {thing: round(steps * amount, 1) for (at, thing), amount in flow.items() if at == place}

    def hold(place: str, share: float) -> dict[str, float]:
        return {thing: round(share * value[thing], 4) for (at, thing) in flow if at == place}

    nodes: dict[str, Any] = {}
    lanes: list[dict[str, Any]] = []
    for material in materials:
        place = material.replace("material", "supplier")
        total = flow.get((place, material), 0.0)
        if not total:
            continue
        nodes[place] = {
            "role": "supplier",
            "hold": hold(place, 0.01),
            "stock": stock(place, 4),
            "capacity": round(1.5 * total, 1),
        }
        lanes.append({"name": f"to_{place}", "source": "outside", "target": place, "products": [material],
                      "lead_time": {"least": 2, "most": 3}, "price": value[material], "emissions": 0.5})  # fmt: skip
    for index in range(factories):
        place = f"factory_{index}"
        made = [good for good in goods if maker[good] == place and (place, good) in flow]
        if not made:
            continue
        total = sum(flow[place, good] for good in made)
        nodes[place] = {
            "role": "manufacturer", "hold": hold(place, 0.02), "stock": stock(place, 4),
            "capacity": round(1.5 * total, 1),
            "makes": {good: {"lead_time": 1, "price": round(0.2 * value[good], 2), "emissions": 2.0} for good in made},
        }  # fmt: skip
        for part in sorted({part for good in made for part in things[good]["recipe"]}):
            source = part.replace("material", "supplier")
            lanes += [
                {"name": f"{source}_{place}", "source": source, "target": place, "products": [part],
                 "lead_time": {"least": 2, "most": 3}, "price": round(1.2 * value[part], 2), "emissions": 0.5},
                {"name": f"{source}_{place}_fast", "source": source, "target": place, "products": [part],
                 "lead_time": 1, "price": round(1.6 * value[part], 2), "emissions": 2.0},
            ]  # fmt: skip
    for index in range(warehouses):
        place = f"warehouse_{index}"
        carried = [good for good in goods if (place, good) in flow]
        if not carried:
            continue
        nodes[place] = {"role": "distributor", "hold": hold(place, 0.03), "stock": stock(place, 3)}
        for source in sorted({maker[good] for good in carried}):
            brought = [good for good in carried if maker[good] == source]
            lanes.append({"name": f"{source}_{place}", "source": source, "target": place, "products": brought,
                          "lead_time": {"least": 1, "most": 2}, "order": 5.0, "emissions": 1.0})  # fmt: skip
    for shop, carried in sold.items():
        sales = {
            good: {
                "demand": {"level": demand[shop, good], "cv": cv, "common": 0.3},
                "price": round(2.5 * value[good], 2),
                "shortage": round(0.5 * value[good], 2),
            }
            for good in carried
        }
        nodes[shop] = {"role": "retailer", "hold": hold(shop, 0.05), "stock": stock(shop, 3), "sells": sales}
        lanes.append({"name": f"{home[shop]}_{shop}", "source": home[shop], "target": shop, "products": carried,
                      "lead_time": 1, "order": 2.0, "emissions": 0.5})  # fmt: skip
    used = {thing for (_, thing) in flow}
    return Network.model_validate(
        {
            "name": name,
            "products": {thing: given for thing, given in things.items() if thing in used},
            "nodes": nodes,
            "lanes": lanes,
        }
    )
