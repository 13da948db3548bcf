"""Where the course's pictures come from.

The photographs, paintings and styles that single topics look at: `photos`, `paintings`, `styles`.
The sets to train on, all with the look of `base.Dataset`: `digits`, `emoji`, `faces`, `scenes`,
`collections` (any folder, patches of photographs) and `published` (MNIST, CelebA, pix2pix …).
"""
