// Painted slices of a volume, each over those before it where they cross; an image is a volume of one slice.
// A view or a plane is { axis, slice, … }; pixels run to the patient's left and down, slices to the right, front and head.
const AXES = { sagittal: 0, coronal: 1, axial: 2 };

const others = (axis) => [0, 1, 2].filter((one) => one !== axis);
const same = (one, other) => one.axis === other.axis && one.slice === other.slice;

// The planes with one painted anew, as the last; those that were are never changed.
export function painted(planes, view, { width, height, pixels }) {
  return [...planes.filter((plane) => !same(plane, view)), { axis: view.axis, slice: view.slice, width, height, pixels: pixels.slice() }];
}

// Brings the pixels of a view up to date; view.sizes: voxels to the right, to the front, to the head.
export function compose(pixels, view, planes) {
  for (const plane of planes) {
    if (same(plane, view)) pixels.set(plane.pixels);
    else if (plane.axis !== view.axis) cross(pixels, view, plane);
  }
}

// The line that two planes have in common.
function cross(pixels, view, plane) {
  const own = AXES[view.axis], other = AXES[plane.axis], along = 3 - own - other, voxel = [];
  voxel[own] = view.slice;
  voxel[other] = plane.slice;
  for (voxel[along] = 0; voxel[along] < view.sizes[along]; voxel[along]++) {
    pixels[pixel(own, voxel, view.sizes)] = plane.pixels[pixel(other, voxel, view.sizes)];
  }
}

// Where a voxel lies in the pixels of its slice along an axis.
function pixel(axis, voxel, sizes) {
  const [across, down] = others(axis);
  return (sizes[down] - 1 - voxel[down]) * sizes[across] + sizes[across] - 1 - voxel[across];
}

// Of a volume whose slices along an axis are so many and so large.
export function sizesOf(axis, count, width, height) {
  const [across, down] = others(AXES[axis]), sizes = [count, count, count];
  sizes[across] = width;
  sizes[down] = height;
  return sizes;
}

// The slice along another axis through a place [x, y] of a view, and where that place is in it.
export function through(view, [x, y], axis) {
  const own = AXES[view.axis], [across, down] = others(own), voxel = [];
  voxel[own] = view.slice + 1; // as the cross is moved by keys, at a corner of its pixel
  voxel[across] = view.sizes[across] - x;
  voxel[down] = view.sizes[down] - y;
  const other = AXES[axis], [left, top] = others(other).map((one) => view.sizes[one] - voxel[one]);
  return { slice: Math.min(Math.max(Math.ceil(voxel[other]) - 1, 0), view.sizes[other] - 1), cross: [left, top] };
}
