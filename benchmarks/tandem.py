"""Best possible result for three judges after three generators: a simulation without overhead.

    python -m benchmarks.tandem

Two models have 16 slots each. The first generates 600 cells, and each of them makes one cell of the
second ready. The lower bound is the time that one model needs for its cells. However, the second
model has nothing to do at first, sometimes has fewer than 16 cells ready, and works alone at the
end.
"""

from __future__ import annotations

import heapq
import math
import random
import statistics

ROWS, COLUMNS, PLACES, MEAN, SIGMA = 200, 3, 16, 0.2, 0.5


def main() -> None:
    """Print the mean and the standard deviation of the median of three runs."""
    runs = [over_the_lower_bound(seed) for seed in range(900)]
    medians = [statistics.median(runs[first : first + 3]) for first in range(0, 900, 3)]
    mean, spread = statistics.fmean(medians), statistics.stdev(medians)
    print(f"median of three runs over the lower bound: {mean:.3f} ± {spread:.3f}")


def over_the_lower_bound(seed: int) -> float:
    """Simulated wall time of a run over the time that one model needs."""
    drawn = random.Random(seed)
    median = math.log(MEAN) - SIGMA**2 / 2
    ready, places, now = [ROWS * COLUMNS, 0], [PLACES, PLACES], 0.0
    in_flight: list[tuple[float, int]] = []
    while True:
        for model in (0, 1):
            while ready[model] and places[model]:
                ready[model] -= 1
                places[model] -= 1
                answered = now + drawn.lognormvariate(median, SIGMA)
                heapq.heappush(in_flight, (answered, model))
        if not in_flight:
            return now / (ROWS * COLUMNS * MEAN / PLACES)
        now, model = heapq.heappop(in_flight)
        places[model] += 1
        ready[1] += model == 0


if __name__ == "__main__":
    main()
