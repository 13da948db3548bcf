"""Wrong command lines: status 1 for what the course refuses, 2 for what argparse does."""

from __future__ import annotations

from bad_inputs import SHELF, command

NOTES, TORN, VOID = SHELF / "notes.ipynb", SHELF / "torn.ipynb", SHELF / "void"

COMMANDS = [
    command("frobnicate", 2, "'frobnicate' & 'doctor', 'fetch'"),
    command("doctor now", 2, "unrecognized arguments & now"),
    command("fetch resnet", 1, "'resnet' & vgg16, alexnet"),
    command("fetch vgg16", 1, "'vgg16' & coursekit fetch"),
    command("run", 2, "required & NN"),
    command("run 99", 1, "'99' & 00_start_here"),
    command("run nowhere.ipynb", 1, "'nowhere.ipynb' & 00_start_here"),
    command(f"run {NOTES}", 1, "notes.ipynb & Restore it"),
    command(f"run {TORN}", 1, "torn.ipynb & no cells"),
    command("run 03 --preset fast", 2, "'fast' & 'ci', 'quick', 'full'"),
    command("run 03 --preset", 2, "--preset & expected one argument"),
    command("render 99", 1, "'99' & 00_start_here"),
    command("render 03 nowhere", 1, "'nowhere' & 00_start_here"),
    command("render --preset slow", 2, "'slow' & 'ci', 'quick', 'full'"),
    command("train", 2, "required & TOPIC"),
    command("train sculpture", 1, "'sculpture' & dcgan --recipe course"),
    command("train gatys", 1, "'gatys' & fast_style --recipe course"),
    command("train wct --recipe quick", 1, "'quick' & wct --recipe course"),
    command("train dcgan --steps 0", 1, "steps=0 & 1 or more"),
    command("train dcgan --steps many", 2, "'many' & int"),
    command("train dcgan --size -64", 1, "size=-64 & 1 or more"),
    command("train dcgan --seed x", 2, "'x' & int"),
    command("train dcgan --style starry_night", 1, "--style & leave that out"),
    command("solve 99", 1, "'99' & 00_start_here"),
    command(f"solve {NOTES}", 1, "notes.ipynb & Restore it"),
    command("release 99", 1, "'99' & 00_start_here"),
    command(f"release {TORN}", 1, "torn.ipynb & no cells"),
    command("report", 2, "required & SUBMISSIONS"),
    command("report nowhere", 1, "'nowhere' & folder of submissions"),
    command(f"report {VOID}", 1, "void & Grade the notebooks"),
    command("exercises sculpture", 1, "'sculpture' & inversion, texture"),
    command("exercises --score sculpture", 1, "'sculpture' & inversion, texture"),
    command("ledger sculpture", 1, "'sculpture' & inversion"),
    command("ledger --format xml", 2, "'xml' & 'text', 'markdown', 'json'"),
    command("badge", 2, "required & OWNER/NAME"),
    command("badge name", 1, "'name' & OWNER/NAME"),
    command("badge a/b/c", 1, "'a/b/c' & OWNER/NAME"),
    command("strip 99", 1, "'99' & 00_start_here"),
    command(f"strip {NOTES}", 1, "notes.ipynb & Restore it"),
    command("pictures 99", 1, "'99' & 00_start_here"),
    command("bench nothing", 1, "nothing"),
]
