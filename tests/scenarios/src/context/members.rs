//! The members themselves, asked directly: their views, their tasks and the data in them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::{Context, Kind, Seen};
use crate::Result;
use xsld_sim::profile::Profile;
use xsld_sim::profile::wire::Shape;

/// User of the members' API.
const USER: &str = "xsadmin";
const ADMIN: u16 = 9445;
const DATA: u16 = 9444;

impl Context {
    /// The address of a pod.
    ///
    /// # Errors
    /// When it has none.
    pub async fn address(&self, pod: &str) -> Result<String> {
        let pod_object = self.get(Kind::Pod, pod).await?;
        let address = pod_object["status"]["podIP"].as_str();
        address.map(str::to_owned).with_context(|| format!("{pod} has no address"))
    }

    /// What a member answers to a read of its administration API. Path and answer have the names of
    /// release 8.6.1, whichever one the member speaks.
    ///
    /// # Errors
    /// When it does not answer with 200 and JSON.
    pub async fn ask(&self, pod: &str, path: &str) -> Result<Value> {
        let address = self.address(pod).await?;
        let release = self.release();
        let (asked, shape) = under_names_of(&release, path);
        let url = format!("https://{address}:{ADMIN}{}{asked}", release.admin_base);
        let request = self.stage.http.get(url).basic_auth(USER, Some(self.credentials().password));
        let answer = request.send().await.with_context(|| format!("{pod} does not answer"))?;
        ensure!(answer.status().is_success(), "{pod} answers {} to {path}", answer.status());
        let answer: Value = answer.json().await?;
        Ok(shape.map_or(answer.clone(), |shape| release.wire.inward(shape, answer)))
    }

    /// Posts to a member's administration API, as a person in the console would.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn post(&self, pod: &str, path: &str, body: Value) -> Result<Value> {
        let address = self.address(pod).await?;
        let url = format!("https://{address}:{ADMIN}/wxsadmin/v1{path}");
        let request = self
            .stage
            .http
            .post(url)
            .basic_auth(USER, Some(self.credentials().password))
            .json(&body);
        let answer = request.send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "{pod} answers {status}: {}", answer.text().await?);
        Ok(answer.json().await?)
    }

    /// Puts to a member's administration API, as a person in the console would.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn put(&self, pod: &str, path: &str, body: Value) -> Result {
        let address = self.address(pod).await?;
        let url = format!("https://{address}:{ADMIN}/wxsadmin/v1{path}");
        let request = self
            .stage
            .http
            .put(url)
            .basic_auth(USER, Some(self.credentials().password))
            .json(&body);
        let answer = request.send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "{pod} answers {status}: {}", answer.text().await?);
        Ok(())
    }

    /// Asks a member to delete a grid, as a person in the console would.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub async fn delete_grid_by_hand(&self, pod: &str, grid: &str) -> Result {
        let address = self.address(pod).await?;
        let url = format!("https://{address}:{ADMIN}/wxsadmin/v1/grid/{grid}");
        let request =
            self.stage.http.delete(url).basic_auth(USER, Some(self.credentials().password));
        let answer = request.send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "{pod} answers {status}: {}", answer.text().await?);
        Ok(())
    }

    /// The members that a member's own view lists, with their status. A stale view is an error.
    ///
    /// # Errors
    /// When it does not answer, or only with what it last knew.
    pub async fn view(&self, pod: &str) -> Result<BTreeMap<String, String>> {
        let group = self.ask(pod, "/cacheMemberGroup").await?;
        ensure!(group["stale"] != true, "the view of {pod} is stale");
        let members = group["members"].as_array().context("a view without members")?;
        let mut found = BTreeMap::new();
        for member in members {
            let text = |field: &str| member[field].as_str().unwrap_or_default().to_owned();
            let former = found.insert(text("memberName"), text("status"));
            ensure!(former.is_none(), "{pod} lists {} twice", text("memberName"));
        }
        Ok(found)
    }

    /// Fails unless each of the first `size` members lists exactly these, all Online, and knows each
    /// at its pod's present address.
    ///
    /// # Errors
    /// The first difference.
    pub async fn views_agree(&self, cache: &str, size: u32) -> Result {
        let names: BTreeSet<String> = (0..size).map(|n| format!("{cache}-{n}")).collect();
        for name in &names {
            let view = self.view(name).await?;
            let listed: BTreeSet<String> = view.keys().cloned().collect();
            ensure!(listed == names, "{name} lists {listed:?}, and not {names:?}");
            let off: Vec<_> = view.iter().filter(|(_, status)| *status != "Online").collect();
            ensure!(off.is_empty(), "{name} does not show all members Online: {off:?}");
        }
        Ok(())
    }

    /// Waits until the members' own views agree, whatever the operator says.
    ///
    /// # Errors
    /// When they do not within `limit`.
    pub async fn wait_views(&self, cache: &str, size: u32, limit: Duration) -> Result {
        self.wait("the members' views to agree", limit, async || {
            Ok(match self.views_agree(cache, size).await {
                Ok(()) => Seen::Yes(()),
                Err(error) => Seen::NotYet(format!("{error:#}")),
            })
        })
        .await
    }

    /// Stores an entry in a grid through a member. It must be there at the scenario's end.
    ///
    /// # Errors
    /// When the member refuses it.
    pub async fn store(&self, pod: &str, grid: &str, key: &str, value: &str) -> Result {
        self.put_entry(pod, grid, key, value).await?;
        self.remember(grid, key, value).await
    }

    /// Stores an entry in a grid through a member, and expects nothing of it.
    ///
    /// # Errors
    /// When the member refuses it.
    pub async fn put_entry(&self, pod: &str, grid: &str, key: &str, value: &str) -> Result {
        let url = self.data_url(pod, grid, key).await?;
        let request = self.stage.http.post(url).basic_auth(USER, Some(self.credentials().password));
        let answer = request.body(value.to_owned()).send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "{pod} answers {status}: {}", answer.text().await?);
        Ok(())
    }

    /// Reads an entry of a grid through a member; none when it is not there.
    ///
    /// # Errors
    /// When the member does not answer with either.
    pub async fn load(&self, pod: &str, grid: &str, key: &str) -> Result<Option<String>> {
        let url = self.data_url(pod, grid, key).await?;
        let request = self.stage.http.get(url).basic_auth(USER, Some(self.credentials().password));
        let answer = request.send().await?;
        match answer.status().as_u16() {
            200 => Ok(Some(answer.text().await?)),
            404 => Ok(None),
            status => bail!("{pod} answers {status}: {}", answer.text().await?),
        }
    }

    async fn data_url(&self, pod: &str, grid: &str, key: &str) -> Result<String> {
        let address = self.address(pod).await?;
        Ok(format!("https://{address}:{DATA}/wxsdata/v1/grids/{grid}/testmap.LUT.O/{key}"))
    }
}

/// A path of release 8.6.1 as another one has it, and what its answer is about.
fn under_names_of(release: &Profile, path: &str) -> (String, Option<Shape>) {
    let paths = &release.paths;
    let (head, name) = match path.trim_start_matches('/').split_once('/') {
        Some((head, name)) => (head, name),
        None => (path.trim_start_matches('/'), ""),
    };
    let named = |path: &str| path.replace("{name}", name);
    match (head, name) {
        ("cacheMemberGroup", "") => (paths.group.clone(), Some(Shape::Group)),
        ("task", "") => (paths.tasks.clone(), Some(Shape::Task)),
        ("grid", "") => (paths.grids.clone(), Some(Shape::Grid)),
        ("grid", _) => (named(&paths.grid), Some(Shape::Grid)),
        ("gridTemplate", _) if !name.is_empty() => {
            (named(&paths.grid_template), Some(Shape::Template))
        }
        _ => (path.to_owned(), None),
    }
}
