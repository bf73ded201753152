//! Folders of pictures as people have them, and what is reported of them.

use std::fs;
use std::path::PathBuf;

use image::{GrayImage, Luma};
use tempfile::TempDir;
use wgen::data::idx::Part;
use wgen::data::images::Options;
use wgen::data::report::{Reason, Report};
use wgen::data::{Loaded, Spec};

pub(crate) struct Folder(pub(crate) TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A picture of one grey.
    pub(crate) fn picture(&self, name: &str, grey: u8) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        GrayImage::from_pixel(4, 4, Luma([grey]))
            .save(path)
            .unwrap();
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn spec(&self) -> Spec {
        Spec::Images(self.0.path().to_owned())
    }

    pub(crate) fn read(&self, part: Part) -> Loaded {
        self.spec().read(part, &Options::default()).unwrap()
    }

    pub(crate) fn refused(&self, words: &[&str]) {
        let error = self.spec().load(Part::Training, &Options::default());
        let error = error.unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "'{word}' is not in '{error}'");
        }
    }
}

pub(crate) fn counts(report: &Report) -> Vec<(&str, usize)> {
    report
        .classes
        .iter()
        .map(|c| (c.name.as_str(), c.examples))
        .collect()
}

pub(crate) fn passed(report: &Report) -> Vec<(Reason, usize)> {
    report
        .passed_over
        .iter()
        .map(|p| (p.reason, p.count))
        .collect()
}
