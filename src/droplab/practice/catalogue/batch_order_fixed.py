"""How the order of the batches is kept apart from dropout."""

from __future__ import annotations

from droplab.practice._exercise import Code, Exercise

EXERCISE = Exercise(
    number=20,
    name="batch-order-fixed",
    title="The same batches for both",
    topic="batch-order",
    level=3,
    snippet="""
        import torch
        from torch import nn
        from torch.utils.data import DataLoader

        data = torch.arange(12.0).view(12, 1)
    """,
    question="""
        A run with dropout and one without are to see the same batches in every epoch, shuffled
        anew for each epoch. Which loader does that?
    """,
    options=(
        Code("""
            def make_loader():
                torch.manual_seed(0)
                return DataLoader(data, batch_size=4, shuffle=True)
        """),
        Code("""
            def make_loader():
                return DataLoader(data, batch_size=4, shuffle=False)
        """),
        Code("""
            def make_loader():
                torch.use_deterministic_algorithms(True)
                return DataLoader(data, batch_size=4, shuffle=True)
        """),
        Code("""
            def make_loader():
                own = torch.Generator().manual_seed(0)
                return DataLoader(data, batch_size=4, shuffle=True, generator=own)
        """),
    ),
    then="""
        def order_of_batches(p):
            torch.manual_seed(0)
            net = nn.Sequential(nn.Linear(1, 8), nn.Dropout(p), nn.Linear(8, 1))
            loader = make_loader()
            epochs = []
            for epoch in range(3):
                order = []
                for batch in loader:
                    net(batch)
                    order += batch.flatten().int().tolist()
                epochs.append(order)
            return epochs

        without, dropout = order_of_batches(p=0.0), order_of_batches(p=0.5)
    """,
    check="""
        same = sum(a == b for a, b in zip(without, dropout))
        orders = len({tuple(order) for order in dropout})
        same == 3 and orders == 3
    """,
    saw="in {same} of 3 epochs both runs have the same order; the run with dropout has "
    "{orders} different {'order' if orders == 1 else 'orders'} in 3 epochs",
    hints=(
        "As long as masks and shuffling draw from one generator, the masks shift the shuffling.",
        "`DataLoader` takes a generator of its own.",
    ),
    explanation="""
        With a generator of its own the loader no longer notices how many random numbers the masks
        use. It goes on from epoch to epoch, so that each epoch has another order, the same one in
        both runs. Seeding the common generator once more helps for the first epoch only, and
        `use_deterministic_algorithms` is about the arithmetic, not about random numbers.
    """,
    mistakes=(
        "Giving up shuffling to get the same order.",
        "Drawing initial weights, masks and shuffling from one generator in a comparison.",
    ),
)
