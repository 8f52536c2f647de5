"""The mouth's shape free of head pose and size, and its way back onto a head.

A mesh is brought into the *face frame*: the similarity transform that lays its stable points (eyes, bridge of the nose,
forehead, temples) on those of a reference face. Unit of the face frame: the distance between the outer eye corners;
x to the picture's right, y down, z away from the camera. What lips and jaw do is measured there.

`face.npz` holds the reference face and how its points move with each measure; tools/train_voice.py makes it.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path

import numpy as np

FACE_FILE = Path(__file__).with_name("face.npz")

# Landmark numbers of the FaceMesh. Stable: what neither speech nor expression moves much.
STABLE = np.array([33, 133, 263, 362, 168, 6, 197, 195, 5, 4, 1, 10, 151, 9, 67, 297, 127, 356, 234, 454])
NOSE_BASE = np.array([2, 97, 326, 98, 327, 64, 294])
OUTER_LIPS = np.array([61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185])
INNER_LIPS = np.array([78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191])
LIPS = np.concatenate([OUTER_LIPS, INNER_LIPS])
JAW = np.array([172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397])
CHIN = np.array([152, 148, 377, 175, 199])
# Pairs across the gap between the lips, near its middle, and their weights.
_UPPER_GAP = np.array([81, 82, 13, 312, 311])
_LOWER_GAP = np.array([178, 87, 14, 317, 402])
_GAP_WEIGHTS = np.array([0.1, 0.2, 0.4, 0.2, 0.1])
_EYE_CORNERS = (33, 263)
_MOUTH_CORNERS = (61, 291)


class Measure(IntEnum):
    """Places in a shape vector. All in units of the face frame."""

    OPENING = 0  # gap between the inner lips
    WIDTH = 1  # from corner to corner
    UPPER_LIP = 2  # how low the upper lip is below the base of the nose
    LOWER_LIP = 3  # how low the lower lip is below the base of the nose
    JAW = 4  # how low the chin is
    PROTRUSION = 5  # how far the lips stand out before the corners


MEASURES = len(Measure)


@dataclass(frozen=True, slots=True)
class FaceFrames:
    """Where faces sit in their pictures: mesh = scale * points @ rotation.T + origin, for each of n meshes."""

    rotation: np.ndarray  # (n, 3, 3)
    scale: np.ndarray  # (n,) pixels per unit
    origin: np.ndarray  # (n, 3) pixels

    def to_face(self, meshes: np.ndarray) -> np.ndarray:
        """(n, points, 3) pixels -> the face frame."""
        return (meshes - self.origin[:, None]) @ self.rotation / self.scale[:, None, None]

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """(n, points, 3) of the face frame -> pixels."""
        return self.scale[:, None, None] * points @ self.rotation.transpose(0, 2, 1) + self.origin[:, None]


@dataclass(frozen=True, slots=True)
class FaceModel:
    """`reference`: (468, 3) face frame. `basis`: (measures, 468, 3), how far each point moves per unit of a measure."""

    reference: np.ndarray
    basis: np.ndarray
    weights: np.ndarray  # (468,) 0 where a mouth may move nothing, 1 at lips and chin


@cache
def load_face_model() -> FaceModel:
    with np.load(FACE_FILE, allow_pickle=False) as stored:
        reference = stored["reference"].astype(np.float64)
        basis = stored["basis"].astype(np.float64)
    weights = weigh_points(reference)
    return FaceModel(reference, basis * weights[:, None], weights)


def weigh_points(reference: np.ndarray) -> np.ndarray:
    """How much of a mouth's movement each point takes on: lips and chin all, cheeks less, nose and ears nothing."""
    mouth = reference[LIPS].mean(axis=0)
    base, lip_top = reference[2, 1], reference[0, 1]
    below_nose = _smooth_step((reference[:, 1] - base) / (0.8 * (lip_top - base)))
    across = np.abs(reference[:, 0] - mouth[0])
    near_mouth = 1 - _smooth_step((across - 0.36) / 0.36)
    weights = below_nose * near_mouth
    weights[LIPS] = 1.0
    return weights


def find_frames(meshes: np.ndarray, reference: np.ndarray | None = None) -> FaceFrames:
    """The face frames of meshes (n, 468, 3): least-squares similarity of their stable points to the reference's."""
    known = load_face_model().reference if reference is None else reference
    model = known[STABLE]
    seen = np.asarray(meshes, np.float64)[:, STABLE]
    model_mean, seen_mean = model.mean(axis=0), seen.mean(axis=1)
    model, seen = model - model_mean, seen - seen_mean[:, None]
    left, singular, right = np.linalg.svd(np.einsum("npi,pj->nij", seen, model))
    signs = np.ones_like(singular)
    signs[:, 2] = np.sign(np.linalg.det(left @ right))
    rotation = (left * signs[:, None]) @ right
    scale = np.maximum((singular * signs).sum(axis=1) / (model**2).sum(), 1e-6)
    origin = seen_mean - scale[:, None] * (rotation @ model_mean)
    return FaceFrames(rotation, scale, origin)


def measure_points(points: np.ndarray) -> np.ndarray:
    """Shape vectors (n, measures) of meshes (n, 468, 3) already in the face frame."""
    gaps = np.linalg.norm(points[:, _LOWER_GAP] - points[:, _UPPER_GAP], axis=2)
    corners = points[:, _MOUTH_CORNERS]
    corner = corners.mean(axis=1)
    base = points[:, NOSE_BASE].mean(axis=1)
    return np.stack(
        [
            gaps @ _GAP_WEIGHTS,
            np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1),
            points[:, [0, 37, 267]].mean(axis=1)[:, 1] - base[:, 1],
            points[:, [17, 84, 314]].mean(axis=1)[:, 1] - base[:, 1],
            points[:, CHIN].mean(axis=1)[:, 1] - base[:, 1],
            corner[:, 2] - points[:, [0, 13, 14, 17]].mean(axis=1)[:, 2],
        ],
        axis=1,
    )


def measure_shapes(meshes: np.ndarray) -> np.ndarray:
    """Shape vectors (n, measures) of meshes (n, 468, 3) in pixels."""
    return measure_points(find_frames(meshes).to_face(meshes))


def measure_shape(mesh: np.ndarray) -> np.ndarray:
    return measure_shapes(mesh[None])[0]


def measure_poses(meshes: np.ndarray) -> np.ndarray:
    """Yaw, pitch, roll in degrees and scale in pixels per unit, (n, 4).

    Yaw above 0 looks to the picture's right, pitch above 0 down; roll above 0 leans clockwise.
    """
    return _measure_frames(find_frames(meshes))


def measure_faces(meshes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of meshes (n, 468, 3) in pixels what measure_shapes and measure_poses say, their frames found once."""
    frames = find_frames(meshes)
    return measure_points(frames.to_face(meshes)), _measure_frames(frames)


def _measure_frames(frames: FaceFrames) -> np.ndarray:
    rotation = frames.rotation
    roll = np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0])
    back = rotation[:, :, 2]  # where the back of the head is; first of all unrolled
    across = np.cos(roll) * back[:, 0] + np.sin(roll) * back[:, 1]
    down = np.cos(roll) * back[:, 1] - np.sin(roll) * back[:, 0]
    yaw = np.arctan2(-across, back[:, 2])
    pitch = np.arcsin(np.clip(-down, -1, 1))
    return np.concatenate([np.degrees(np.stack([yaw, pitch, roll], axis=1)), frames.scale[:, None]], axis=1)


def change_shape(points: np.ndarray, change: np.ndarray) -> np.ndarray:
    """A mesh (468, 3) of the face frame with its mouth's measures changed by `change` (measures,)."""
    moved = points + np.tensordot(change, load_face_model().basis, axes=1)
    # Lips do not pass through one another.
    crossing = np.maximum(moved[_UPPER_GAP, 1] - moved[_LOWER_GAP, 1], 0) / 2
    moved[_UPPER_GAP, 1] -= crossing
    moved[_LOWER_GAP, 1] += crossing
    return moved


def pose_mouth(target_mesh: np.ndarray, mouth: np.ndarray | None, change: np.ndarray | None = None) -> np.ndarray:
    """The target's mesh (468, 3) in pixels with another mouth, its own elsewhere.

    `mouth`: a whole mesh (468, 3) in the face frame whose lips, jaw and lower cheeks are taken; None: the target's own.
    `change`: is added to that mouth's measures.
    """
    frames = find_frames(target_mesh[None])
    own = frames.to_face(target_mesh[None])[0]
    weights = load_face_model().weights[:, None]
    wanted = own
    if mouth is not None:
        # The base of the nose, not the whole face, anchors the mouth: errors of pose show least there.
        shift = (own[NOSE_BASE] - mouth[NOSE_BASE]).mean(axis=0)
        wanted = own + weights * (mouth + shift - own)
    if change is not None:
        wanted = change_shape(wanted, change)
    posed = np.array(target_mesh, np.float32)
    moving = weights[:, 0] > 0
    posed[moving] = frames.to_picture(wanted[None, moving])[0]
    return posed


def _smooth_step(value: np.ndarray) -> np.ndarray:
    clipped = np.clip(value, 0, 1)
    return clipped * clipped * (3 - 2 * clipped)
