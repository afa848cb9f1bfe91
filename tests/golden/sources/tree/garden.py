"""Functions of a garden, each documented in a few sentences: fixture for mined pairs."""


def water(bed, litres):
    """Give a bed of plants the stated amount of water.

    The amount is spread evenly over all plants of the bed. Plants that were watered less than a day ago
    are left out, because roots that stand in water for long begin to rot and the plant dies.
    """


def prune(tree, height):
    """Cut a fruit tree back to the given height in winter.

    Branches that cross each other are removed first. What remains is cut above a bud that points away
    from the trunk, so that light reaches the middle of the crown and fruit ripens there too.
    """


def harvest(bed, after):
    """Collect everything in a bed that is ripe after a date.

    Fruit that falls when the branch is shaken lightly counts as ripe. The rest is left for a later round
    and the date of that round is returned, computed from the temperature of the last seven days.
    """


def compost(waste, months):
    """Turn kitchen and garden waste into soil over several months.

    Layers of wet and dry material alternate. The heap is turned once a month so that air reaches all of
    it, and is ready when it is dark, crumbles between the fingers and smells of forest floor.
    """


def sow(seeds, depth, distance):
    """Put seeds into the ground at a depth and a distance.

    Small seeds are only pressed into the surface because they need light to germinate. Large ones are
    soaked in lukewarm water for one night before, which shortens the time until the first leaf shows.
    """


def shelter(plants, night):
    """Protect tender plants from frost during one night.

    A fleece is laid over hoops so that it does not touch the leaves. It is taken away in the morning as
    soon as the sun stands above the fence, since the air below it grows hot and damp within an hour.
    """
