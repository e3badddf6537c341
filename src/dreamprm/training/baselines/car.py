"""CaR: cluster and rank. The best CoTs overall for quality, and the best of each cluster for diversity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dreamprm.config.checking import check_settings
from dreamprm.config.errors import UserError
from dreamprm.config.schema import load, setting
from dreamprm.data.records import StepRecord
from dreamprm.training.baselines.base import KEPT, Selected, Selection, SelectionData

if TYPE_CHECKING:
    from dreamprm.models.prm import PRM

QUALITIES = ("likelihood", "certainty")
EMBEDDINGS = ("backbone", "tfidf")
# Dimensions of the latent semantic space of TF-IDF vectors; scikit-learn recommends 100 for it.
TFIDF_DIMENSIONS = 100
NOT_CHOSEN = "neither among the best nor the best of its cluster"


@dataclass(frozen=True)
class ClusterAndRank(Selection):
    """Keeps the `top` best CoTs overall, and the `per_cluster` best of each of k clusters.

    Use it as the paper's baseline CaR-PRM: a vanilla PRM on data chosen by quality and diversity, without
    using any label of the meta set.

    Quality of a CoT:
        likelihood  mean log-likelihood per token of its steps under the backbone before training
        certainty   mean |2 p_i - 1| over its labelled steps: how certain its labels are; needs no model
    Embedding of question and steps, reduced by PCA to `variance` of its variance, clustered by k-means:
        backbone    mean of the backbone's last hidden states over the text's tokens
        tfidf       TF-IDF of words in 100 latent dimensions; needs no model and ignores images

    Args:
        quality: one of `QUALITIES`.
        embedding: one of `EMBEDDINGS`.
        top: share of all CoTs kept for their quality, in [0, 1].
        per_cluster: CoTs kept from each cluster, the best first; >= 0.
        clusters: k; None: sqrt(N / 2) rounded down, the paper's choice.
        variance: share of the variance that PCA keeps, in (0, 1).
        batch_size: CoTs per pass through the backbone.

    Raises:
        ValueError: a value that is not allowed.
        UserError: in `select`, scikit-learn is not installed.

    Source: Ge et al., arXiv 2402.18191, with PCA at 0.95 and k = sqrt(N / 2) as in its public code.
    Departures: its quality comes from a scorer trained on experts' preferences between instructions (IQS)
    and its embedding from a sentence transformer; no such model handles CoTs with images, so the backbone
    replaces both. It keeps the best 1,000 of 52,002 and one from each cluster, 2 % in total, to fine-tune a
    generator; a PRM trained on that few CoTs would not be a serious competitor, so `top` is half.
    """

    quality: str = setting(
        "likelihood",
        "quality of a CoT: its mean log-likelihood under the backbone before training, or how certain its "
        "labels are",
        choices=QUALITIES,
    )
    embedding: str = setting(
        "backbone",
        "what is clustered: the backbone's hidden states, or TF-IDF of the words",
        choices=EMBEDDINGS,
    )
    top: float = setting(0.5, "share of all CoTs kept for their quality", minimum=0, maximum=1)
    per_cluster: int = setting(1, "CoTs kept from each cluster, the best first", minimum=0)
    clusters: int | None = setting(None, "number of clusters k; null: sqrt(N / 2), rounded down", minimum=1)
    variance: float = setting(
        0.95, "share of the variance that PCA keeps before clustering", above=0, below=1
    )
    batch_size: int = setting(16, "CoTs per pass through the backbone", minimum=1)

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.top and not self.per_cluster:
            raise ValueError("top=0 and per_cluster=0 keep nothing; raise one of them")

    def select(self, data: SelectionData) -> Selected:
        """The chosen CoTs; the report gives k, the dimensions kept, and the mean quality before and after."""
        records = data.records
        quality = self._qualities(data)
        points = reduced(self._embeddings(data), variance=self.variance, seed=data.seed)
        wanted = self.clusters if self.clusters is not None else max(1, math.isqrt(len(records) // 2))
        labels = clustered(points, count=wanted, seed=data.seed)
        data.say(f"CaR: {labels.max() + 1} clusters of {len(records)} CoTs in {points.shape[1]} dimensions")
        kept = cluster_and_rank(
            quality, labels, top=round(self.top * len(records)), per_cluster=self.per_cluster
        )
        chosen = set(kept.tolist())
        return Selected(
            [KEPT if row in chosen else NOT_CHOSEN for row in range(len(records))],
            facts={
                "clusters": int(labels.max()) + 1,
                "dimensions": points.shape[1],
                "mean_quality": {"all": float(quality.mean()), "kept": float(quality[kept].mean())},
            },
        )

    def _qualities(self, data: SelectionData) -> NDArray[np.float64]:
        if self.quality == "certainty":
            return np.array([certainty(record) for record in data.records])
        from dreamprm.training.baselines.backbone_features import mean_log_likelihoods

        data.say(f"CaR: likelihood of {len(data.records)} CoTs")
        return mean_log_likelihoods(
            _model(data), data.records, images=data.images, batch_size=self.batch_size
        )

    def _embeddings(self, data: SelectionData) -> NDArray[np.float64]:
        if self.embedding == "tfidf":
            return tfidf(
                [" ".join((record.question, *record.steps)) for record in data.records], seed=data.seed
            )
        from dreamprm.training.baselines.backbone_features import mean_states

        data.say(f"CaR: embedding of {len(data.records)} CoTs")
        return mean_states(_model(data), data.records, images=data.images, batch_size=self.batch_size)


def cluster_and_rank(
    quality: NDArray[np.float64], clusters: NDArray[np.int64], *, top: int, per_cluster: int
) -> NDArray[np.int64]:
    """The rows kept, in ascending order: the best `top` overall and the best `per_cluster` of each cluster.

    Args:
        quality: `(N,)`, higher is better; ties are broken by row.
        clusters: `(N,)`, the cluster of each row.
    """
    order = np.argsort(-quality, kind="stable")
    kept = set(order[:top].tolist())
    left = dict.fromkeys(np.unique(clusters).tolist(), per_cluster)
    for row in order.tolist():
        cluster = int(clusters[row])
        if left[cluster]:
            left[cluster] -= 1
            kept.add(row)
    return np.array(sorted(kept), dtype=np.int64)


def certainty(record: StepRecord) -> float:
    """Mean |2 p_i - 1| over the labelled steps: 1 where all are 0 or 1, 0 where all are 1/2."""
    known = [label for label in record.labels if label is not None]
    return sum(abs(2 * label - 1) for label in known) / len(known)


def reduced(points: NDArray[np.float64], *, variance: float, seed: int) -> NDArray[np.float64]:
    """`(N, d)`: the principal components that hold this share of the variance; d >= 1.

    Points that are all equal have no variance: they are reduced to one component of zeros.
    """
    if not np.ptp(points, axis=0).any():
        return np.zeros((len(points), 1))
    # "full" is deterministic, and the only solver that finds d from a share.
    pca = _sklearn("decomposition:PCA")(n_components=variance, svd_solver="full", random_state=seed)
    values: NDArray[np.float64] = pca.fit_transform(points)
    return values


def clustered(points: NDArray[np.float64], *, count: int, seed: int) -> NDArray[np.int64]:
    """`(N,)`: the k-means cluster of each point, 0..k-1; k is at most the number of distinct points."""
    count = min(count, len(np.unique(points, axis=0)))
    labels = _sklearn("cluster:KMeans")(n_clusters=count, random_state=seed, n_init=10).fit_predict(points)
    # numbered by first appearance, without gaps: otherwise clusters that ended up empty would count
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)


def tfidf(texts: Sequence[str], *, seed: int) -> NDArray[np.float64]:
    """`(N, d)`: TF-IDF vectors of the texts' words in at most `TFIDF_DIMENSIONS` latent dimensions."""
    # Digits and signs count as words: in a calculation they are what distinguishes two CoTs.
    vectors = _sklearn("feature_extraction.text:TfidfVectorizer")(token_pattern=r"\w+|[^\w\s]").fit_transform(
        texts
    )
    if vectors.shape[1] <= TFIDF_DIMENSIONS or len(texts) <= TFIDF_DIMENSIONS:
        dense: NDArray[np.float64] = vectors.toarray()
        return dense
    svd = _sklearn("decomposition:TruncatedSVD")(n_components=TFIDF_DIMENSIONS, random_state=seed)
    latent: NDArray[np.float64] = svd.fit_transform(vectors)
    return latent


def _model(data: SelectionData) -> PRM:
    assert data.prm is not None, "a training run passes its model"
    return data.prm


def _sklearn(place: str) -> Any:
    try:
        return load(f"sklearn.{place}")
    except ImportError as error:
        raise UserError(
            "baseline car clusters with scikit-learn, which is not installed; pip install 'dreamprm[cluster]'"
        ) from error
