"""What a run says that it waits for."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import dd_core.config as dd
from dd_core.dataset.compile import compile_plan
from dd_core.designer.view.run_progress import describe_waits
from dd_core.engine.engine import Engine
from dd_core.errors import DataDesignerError
from dd_core.models.providers import Providers
from dd_core.storage.batch import Batch
from flows.limits.alias_leases import LimitedQueue
from flows.limits.keeper import LeaseKeeper
from flows.limits.tag_limits import Holder, make_tag
from tests.datasets import chain
from tests.scripted import ScriptedModel


async def test_a_run_that_waits_for_its_first_slots_names_their_limit() -> None:
    plan = compile_plan(chain("http://m.test/v1", 1, parallel=2).build(), Providers(), seed=1)
    async with Engine(plan, Providers(), dd.RunConfig(), transport=ScriptedModel("fine")) as engine:
        queues: dict[str, LimitedQueue] = {make_tag("m"): engine.models["m"].queue}
        LeaseKeeper(queues, {}, Holder.of(uuid4()))
        run = engine.batch_run(Batch(0, 0, 2))
        run.start()
        async with asyncio.timeout(300):
            while not describe_waits(engine):
                await asyncio.sleep(0.01)
        assert describe_waits(engine) == ["waiting for slots of model:m"]
        run.stop(DataDesignerError("enough"))
        await run.close()
