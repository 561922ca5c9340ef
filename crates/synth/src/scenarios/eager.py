"""Eager tasks: from Python 3.12 on."""


async def eager(stage):
    stage.kept.append(stage.loop.create_task(nested(3), name="eager"))
    stage.kept.append(stage.loop.create_task(eager_inside(stage), name="eager in eager"))
    await asyncio.sleep(0)
    coming_to_rest()
    await sleep()


async def eager_inside(stage):
    stage.kept.append(stage.loop.create_task(nested(1), name="begun by eager"))
    await sleep()


async def eager_running(stage):
    """At rest in the first step of an eager task, which is not scheduled yet."""
    stage.loop.create_task(runs(2), name="first step")


for scene in (eager, eager_running):
    Loop(scene, factory=asyncio.eager_task_factory)
