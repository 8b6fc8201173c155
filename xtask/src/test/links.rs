//! Links between the Markdown files of this repository: the file is there, and so is the heading.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::run;

/// What a Markdown file has and refers to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Page {
    anchors: BTreeSet<String>,
    links: Vec<String>,
}

pub fn check(root: &Path) -> Result<()> {
    let list = run::output(Command::new("git").current_dir(root).args(["ls-files", "-z", "--", "*.md"]))?;
    let mut pages = BTreeMap::new();
    for name in list.split_terminator('\0') {
        let path = root.join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
        pages.insert(path, read(&text));
    }
    let broken: Vec<String> = pages
        .iter()
        .flat_map(|(path, page)| page.links.iter().map(move |link| (path, link)))
        .filter_map(|(path, link)| {
            let why = broken(path, link, &pages)?;
            Some(format!("{}: {link} {why}", path.strip_prefix(root).unwrap_or(path).display()))
        })
        .collect();
    ensure!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
    Ok(())
}

/// Why a link leads nowhere, if it does.
fn broken(from: &Path, link: &str, pages: &BTreeMap<PathBuf, Page>) -> Option<&'static str> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if file.is_empty() { from.to_owned() } else { normal(&from.parent()?.join(file)) };
    if !target.exists() {
        return Some("is not there");
    }
    let has_anchor = || pages.get(&target).is_some_and(|page| page.anchors.contains(anchor));
    (!anchor.is_empty() && !has_anchor()).then_some("has no such heading")
}

/// The anchors of the headings of a page.
pub fn anchors(text: &str) -> BTreeSet<String> {
    read(text).anchors
}

/// The path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut normal, component| {
        match component.as_os_str().to_str() {
            Some(".") => {}
            Some("..") => {
                normal.pop();
            }
            _ => normal.push(component),
        }
        normal
    })
}

fn read(text: &str) -> Page {
    let mut page = Page::default();
    let mut heading: Option<String> = None;
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                page.links.push(dest_url.into_string());
            }
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => page.anchors.extend(heading.take().map(|text| slug(&text))),
            Event::Text(part) | Event::Code(part) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&part);
                }
            }
            _ => {}
        }
    }
    page
}

/// The anchor that a heading gets where Markdown is shown: lower case, spaces as hyphens, no punctuation.
fn slug(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_and_links_are_found_and_code_is_not() {
        let page = read("# How a `PVC` grows, and why\n[a](b.md#c) ![d](e.svg)\n\n    [no](link)\n\n`[no](link)`\n");
        assert_eq!(page.anchors, BTreeSet::from(["how-a-pvc-grows-and-why".to_owned()]));
        assert_eq!(page.links, ["b.md#c", "e.svg"]);
    }

    #[test]
    fn a_link_is_broken_without_its_file_or_its_heading() {
        let root = std::env::temp_dir().join(format!("orlop-links-{}", std::process::id()));
        fs::create_dir_all(root.join("docs")).unwrap();
        let (readme, page) = (root.join("README.md"), root.join("docs/page.md"));
        fs::write(&readme, "# Top\n").unwrap();
        fs::write(&page, "# Here\n").unwrap();
        let pages = BTreeMap::from([(readme.clone(), read("# Top\n")), (page.clone(), read("# Here\n"))]);
        assert_eq!(broken(&page, "../README.md#top", &pages), None);
        assert_eq!(broken(&page, "#here", &pages), None);
        assert_eq!(broken(&page, "https://example.com/#x", &pages), None);
        assert_eq!(broken(&page, "README.md", &pages), Some("is not there"));
        assert_eq!(broken(&readme, "docs/page.md#there", &pages), Some("has no such heading"));
        fs::remove_dir_all(root).unwrap();
    }
}
