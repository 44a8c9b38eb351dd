//! Everything is healed, and what was asked for last is asked for once more.

use serde_json::{Value, json};
use xsld_histories::act::{Cascade, Kind as Word, member_name};
use xsld_histories::goal::Goal;
use xsld_histories::world::Result;

use super::world::{Place, all_members, broken, is_ready, kind_of, now_us};
use crate::context::{Kind, condition, is_true};

/// How long what a person decided has to come to something before it is decided once more.
const DECIDED_US: i64 = 40_000_000;

impl Place<'_> {
    pub(super) async fn heal_all(&self, goal: &Goal) -> Result {
        self.lift_policies().await?;
        for pod in all_members() {
            self.c.clear_faults(&pod).await.map_err(broken)?;
        }
        self.nodes_back().await?;
        self.foreign_away().await?;
        self.thaw().await;
        self.end_second().await?;
        self.start().await?;
        self.objects_away(goal).await?;
        for (kind, name) in objects(goal) {
            let base = match kind {
                Word::Cache => self.cache(&name, goal.caches[&name])["spec"].clone(),
                Word::Grid => json!({"templateName": "Simple", "numPartition": 3}),
                _ => json!({}),
            };
            if let Some(mut spec) = goal.healing(kind, &name, &base) {
                for path in ["/pod/tolerations", "/pod/affinity"] {
                    if let Some(value) = spec.pointer_mut(path) {
                        *value = self.placed(path, value.take());
                    }
                }
                // One that went by itself is made anew by whoever looks for it.
                self.patch_spec(kind, &name, spec).await?;
            }
        }
        Ok(())
    }

    /// What must not be there goes, and with it what cannot be without it.
    async fn objects_away(&self, goal: &Goal) -> Result {
        let mut away = goal.gone.clone();
        for (grid, cache) in &goal.grids {
            let object = self.c.get(Kind::Grid, grid).await.map_err(broken)?;
            let template = object["spec"]["templateRef"]["name"].as_str();
            let is_alone = cache.as_ref().is_some_and(|cache| !goal.caches.contains_key(cache))
                || goal.caches.is_empty()
                || template.is_some_and(|template| !goal.templates.contains_key(template));
            if is_alone {
                away.push((Word::Grid, grid.clone()));
            } else if cache.is_none() && goal.caches.len() > 1 {
                let first = goal.caches.keys().next().cloned().unwrap_or_default();
                let bound = json!({"cacheRef": {"name": first}});
                self.patch_spec(Word::Grid, grid, bound).await?;
            }
        }
        for (template, cache) in &goal.templates {
            if !goal.caches.contains_key(cache) {
                away.push((Word::Template, template.clone()));
            }
        }
        for (kind, name) in away {
            self.remove(kind, &name, Cascade::Background, false).await?;
            self.state(|state| state.healed_away.insert((kind, name)));
        }
        Ok(())
    }

    pub(super) async fn missing_of(&self, goal: &Goal) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        for (cache, size) in &goal.caches {
            missing.extend(self.cache_missing(cache, *size, goal).await?);
        }
        for (kind, name) in self.state(|state| state.healed_away.clone()) {
            let object = self.c.get(kind_of(kind), &name).await.map_err(broken)?;
            if !object.is_null() {
                missing.push(format!("{kind:?} {name} is still there{}", why(&object)));
            }
        }
        for (kind, name) in objects(goal).filter(|(kind, _)| *kind != Word::Cache) {
            if self.state(|state| state.healed_away.contains(&(kind, name.clone()))) {
                continue;
            }
            let object = self.c.get(kind_of(kind), &name).await.map_err(broken)?;
            if object.is_null() {
                missing.push(format!("{kind:?} {name} is not there"));
                self.make_again(kind, &name, goal).await?;
                continue;
            }
            let is_online = kind != Word::Grid || object["status"]["status"] == "Online";
            let is_told = is_true(&object, "Ready", None) && crate::context::is_current(&object);
            if !is_online || !is_told {
                missing.push(format!("{kind:?} {name} is not Ready{}", why(&object)));
            }
        }
        Ok(missing)
    }

    async fn cache_missing(&self, cache: &str, size: u32, goal: &Goal) -> Result<Option<String>> {
        let object = self.c.get(Kind::Cache, cache).await.map_err(broken)?;
        if object.is_null() {
            self.make_again(Word::Cache, cache, goal).await?;
            return Ok(Some(format!("cache {cache} is not there")));
        }
        if !is_ready(&object) || object["spec"]["size"] != size {
            self.decide_as_told(cache, &object).await?;
            if goal.password > 0 {
                self.password_everywhere(cache, size).await?;
            }
            return Ok(Some(format!("cache {cache} is not Ready{}", why(&object))));
        }
        if let Err(error) = self.c.views_agree(cache, size).await {
            return Ok(Some(format!("the members of {cache} disagree | {error:#}")));
        }
        self.images_missing(cache, size, &object).await
    }

    /// Whoever is told Ready runs what the spec asks for.
    async fn images_missing(
        &self,
        cache: &str,
        size: u32,
        object: &Value,
    ) -> Result<Option<String>> {
        let wanted = &object["spec"]["image"];
        for member in 0..size {
            let name = member_name(cache, member);
            let pod = self.c.get(Kind::Pod, &name).await.map_err(broken)?;
            let containers = pod["spec"]["containers"].as_array();
            let mut named = containers.into_iter().flatten().filter(|c| c["name"] == "xsld");
            let image = named.next().map_or(Value::Null, |container| container["image"].clone());
            if image != *wanted {
                let told = format!("{cache} is Ready, and a member runs another image | {name}");
                return Ok(Some(format!("{told} runs {image}, and {wanted} is asked for")));
            }
        }
        Ok(None)
    }

    /// What a condition leaves to a person is done as it says, now and then.
    async fn decide_as_told(&self, cache: &str, object: &Value) -> Result {
        let reason = asked(object);
        let number = self.state(|state| {
            let (last_us, number) = state.decided.entry(cache.to_owned()).or_default();
            let is_due = !reason.is_empty() && now_us() - *last_us > DECIDED_US;
            if is_due {
                (*last_us, *number) = (now_us(), *number + 1);
            }
            is_due.then_some(*number)
        });
        let Some(number) = number else { return Ok(()) };
        match reason {
            // Another template or other settings of the rollout begin it anew.
            "RolloutHalted" => {
                let rollout = json!({"progressDeadlineSeconds": 1800 + number});
                self.patch_spec(Word::Cache, cache, json!({"rollout": rollout})).await?;
            }
            // Pods are made anew as the spec asks for when the template that is named is consented to.
            "RequiresUpdate" => {
                let message = condition(object, "Deferred")
                    .map(|it| it["message"].clone())
                    .unwrap_or_default();
                let named =
                    message.as_str().and_then(|text| text.split("xsld.ibm.com/consent=").nth(1));
                let is_hex = |c: &char| c.is_ascii_hexdigit();
                let digest: String = named.unwrap_or_default().chars().take_while(is_hex).collect();
                let change = json!({"metadata": {"annotations": {"xsld.ibm.com/consent": digest}}});
                self.c.patch(Kind::Cache, cache, change).await.map_err(broken)?;
            }
            // Somebody scaled what is to be adopted: every volume gets its pod back.
            "AdoptionUndecided" if message(object).contains("scale it to the members") => {
                let replicas = self.volumes(cache).await?;
                let change = json!({"spec": {"replicas": replicas}});
                super::acts::answered(self.c.patch(Kind::StatefulSet, cache, change).await)?;
            }
            // The volume was deleted by hand: it is given up.
            "VolumeTerminating" => self.give_up_volumes(cache).await?,
            // The configuration was on the volume that is lost: the cache is made again.
            "PrimaryVolumeLost" => {
                let volumes = json!({"storage": {"retention": {"whenDeleted": "Delete"}}});
                self.patch_spec(Word::Cache, cache, volumes).await?;
                self.remove(Word::Cache, cache, Cascade::Background, false).await?;
                self.state(|state| state.entries.retain(|_, entry| entry.cache != cache));
            }
            _ => {}
        }
        Ok(())
    }

    /// How many volumes of its members there are.
    async fn volumes(&self, cache: &str) -> Result<usize> {
        let claims = self.c.list(Kind::Claim).await.map_err(broken)?;
        let prefix = format!("vol-{cache}-");
        let ordinal = |claim: &&Value| {
            let name = claim["metadata"]["name"].as_str().unwrap_or_default();
            name.strip_prefix(&prefix).is_some_and(|rest| rest.parse::<u32>().is_ok())
        };
        Ok(claims.iter().filter(ordinal).count())
    }

    /// Deletes the pods whose claims are on their way out.
    async fn give_up_volumes(&self, cache: &str) -> Result {
        for claim in self.c.list(Kind::Claim).await.map_err(broken)? {
            let name = claim["metadata"]["name"].as_str().unwrap_or_default();
            let Some(pod) = name.strip_prefix("vol-") else { continue };
            let is_its = pod.rsplit_once('-').is_some_and(|(its, _)| its == cache);
            if is_its && !claim["metadata"]["deletionTimestamp"].is_null() {
                self.remove(Word::Pod, pod, Cascade::Background, false).await?;
            }
        }
        Ok(())
    }

    /// A person applies again what went although it is wanted.
    async fn make_again(&self, kind: Word, name: &str, goal: &Goal) -> Result {
        let spec = goal.healing(kind, name, &json!({})).unwrap_or_else(|| json!({}));
        let made = match kind {
            Word::Cache => {
                let mut object = self.cache(name, goal.caches[name]);
                lay_over(&mut object["spec"], &spec);
                self.c.apply(Kind::Cache, object).await.map(drop)
            }
            Word::Grid => {
                let cache = goal.grids.get(name).cloned().flatten();
                self.create_grid(name, cache.as_deref(), &spec).await
            }
            _ => {
                let cache = goal.templates.get(name).cloned().unwrap_or_default();
                self.create_template(name, &cache).await
            }
        };
        super::acts::answered(made).map(drop)
    }

    /// A group that came back on older volumes has an older password: a person gives it the new one.
    async fn password_everywhere(&self, cache: &str, size: u32) -> Result {
        let password = self.c.credentials().password;
        for member in 0..size {
            let pod = member_name(cache, member);
            let refused = match self.c.view(&pod).await {
                Ok(_) => false,
                Err(error) => format!("{error:#}").contains("401"),
            };
            let is_asked = !self.c.faults(&pod).await.map_err(broken)?.is_empty();
            if refused && !is_asked {
                let fault = json!({"fault": "rotate_password", "password": password, "count": 1});
                self.c.fault(&pod, fault).await.map_err(broken)?;
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The reason for which a person is asked; empty when nobody is.
fn asked(object: &Value) -> &str {
    let told = |kind| condition(object, kind).filter(|it| it["status"] == "True");
    let consent = told("Deferred").filter(|it| it["reason"] == "RequiresUpdate");
    let condition = told("NeedsAttention").or(consent);
    condition.and_then(|it| it["reason"].as_str()).unwrap_or_default()
}

/// What the person is told.
fn message(object: &Value) -> &str {
    let asked = condition(object, "NeedsAttention");
    asked.and_then(|it| it["message"].as_str()).unwrap_or_default()
}

/// The wanted objects of users.
fn objects(goal: &Goal) -> impl Iterator<Item = (Word, String)> {
    let of = |kind: Word| move |name: &String| (kind, name.clone());
    let caches = goal.caches.keys().map(of(Word::Cache));
    let templates = goal.templates.keys().map(of(Word::Template));
    let grids = goal.grids.keys().map(of(Word::Grid));
    let all: Vec<_> = caches.chain(templates).chain(grids).collect();
    all.into_iter()
}

/// Fields of one spec over those of another.
fn lay_over(under: &mut Value, over: &Value) {
    match over.as_object() {
        Some(fields) if under.is_object() => {
            for (field, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                lay_over(&mut under[field], value);
            }
        }
        _ => *under = over.clone(),
    }
}

/// The condition that says why an object is not Ready: the reason, then ` | ` and the rest.
fn why(object: &Value) -> String {
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return format!(", and on its way out | {}", crate::context::brief(object));
    }
    let reason = condition(object, "Ready").map_or("", |it| it["reason"].as_str().unwrap_or(""));
    format!(": {reason} | {}", crate::context::brief(object))
}
