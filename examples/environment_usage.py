"""Environment usage: a team of four traders who act at random, through the interface that RLlib's users know."""

from envs.adapters.trading import TradingEnvironment
from envs.base import AgentConfig, AgentRole

# Create agent configurations
agent_configs = [
    AgentConfig(agent_id=f"trader_{i}", role=AgentRole.EXECUTOR, initial_balance=100000)
    for i in range(4)
]  # fmt: skip

# Create environment
env = TradingEnvironment(
    agent_configs=agent_configs,
    symbols=["AAPL", "GOOGL", "TSLA", "MSFT"],
    max_steps=1000
)  # fmt: skip

# Training loop
observations, info = env.reset()
for step in range(1000):  # noqa: B007
    actions = {agent_id: env.action_space.sample() for agent_id in observations.keys()}  # noqa: SIM118
    observations, rewards, terminated, truncated, info = env.step(actions)

    if all(terminated.values()):
        break
