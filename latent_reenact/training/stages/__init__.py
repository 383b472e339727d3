"""The training problems: each a module of networks, its data, its losses and its measures."""
