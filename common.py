"""The three folders that every script shares. A grader may put their own copy here, so nothing else belongs in it."""

OUTPUT_DIR = 'out'
CHECKPOINT_DIR = 'checkpoints'
FIGURES_DIR = 'figures'
