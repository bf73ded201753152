"""Samples of a run judged by `wgen eval --judge`, and files of lines that keep what was measured."""
import json
import os
import subprocess


def judge(wgen, run, data, judge, samples, options):
    """Fréchet distance, that of two halves of as many real images, share of the class asked for, precision and recall of `samples` samples."""
    out = subprocess.run([wgen, "-q", "eval", run, "--data", data, "--examples", "100", "--judge", judge, "--samples", str(samples), "--json", *options],
                         check=True, stdout=subprocess.PIPE, text=True).stdout
    judged = json.loads(out)["judgement"]
    compared = judged["comparison"]
    return {"frechet": compared["frechet_distance"], "real": judged["anchors"]["real"]["frechet_distance"], "of_class": judged["class_agreement"],
            "precision": compared["precision"], "recall": compared["recall"]}


class Kept:
    """Rows of a file of JSON lines, found by the fields that say what was measured."""

    def __init__(self, path):
        self.path = path
        self.rows = [json.loads(line) for line in open(path)] if os.path.exists(path) else []

    def row(self, what, measure):
        """The row that has all of `what`; otherwise `what` and what `measure()` gives, kept from now on."""
        for row in self.rows:
            if what.items() <= row.items():
                return row
        row = {**what, **measure()}
        with open(self.path, "a") as file:
            file.write(json.dumps(row) + "\n")
        self.rows.append(row)
        return row
