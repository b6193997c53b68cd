"""Trains four traders through the curriculum by a few lines of Python, and prints how well they do."""

import asyncio

from tune.pipeline import create_trading_pipeline

# Create training pipeline
pipeline = create_trading_pipeline(
    num_agents=4,
    total_episodes=10000,
    use_curriculum=True,
    experiment_name="my_trading_experiment",
)

# Run training
results = asyncio.run(pipeline.train())
print(f"Best performance: {results['best_eval_score']:.3f}")
