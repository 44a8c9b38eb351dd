//! Grid templates: two XML documents under a name.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Member;
use super::database::Template;
use super::grids::answer_to;
use super::peer::GroupChange;
use super::wire::Answer;

impl Member {
    pub(super) fn list_templates(&self) -> Answer {
        let names: Vec<String> =
            self.read(|state| state.view.database.templates.keys().cloned().collect());
        let templates: Vec<Value> =
            names.into_iter().map(|name| json!({"templateName": name})).collect();
        Answer::json(200, Value::from(templates))
    }

    pub(super) fn show_template(&self, name: &str) -> Answer {
        match self.read(|state| state.view.database.templates.get(name).cloned()) {
            Some(template) => Answer::json(200, json!(template)),
            None => no_template(name),
        }
    }

    pub(super) async fn put_template(self: &Arc<Self>, name: &str, body: &[u8]) -> Answer {
        let template: Template = match serde_json::from_slice(body) {
            Ok(template) => template,
            Err(error) => {
                return Answer::error(400, format!("the body is not a grid template: {error}"));
            }
        };
        let documents = [&template.object_grid_xml, &template.deployment_policy_xml];
        if documents.iter().any(|document| !document.trim_start().starts_with('<')) {
            return Answer::error(400, "a document of the grid template is not XML");
        }
        let change = GroupChange::PutTemplate { name: name.to_owned(), template };
        match self.change_own_group(change).await {
            Ok(()) => Answer::json(200, json!({})).with_effect("template_stored"),
            Err(error) => answer_to(&error),
        }
    }

    pub(super) async fn delete_template(self: &Arc<Self>, name: &str) -> Answer {
        let change = GroupChange::DeleteTemplate { name: name.to_owned() };
        match self.change_own_group(change).await {
            Ok(()) => Answer::json(200, json!({})).with_effect("template_deleted"),
            Err(error) => answer_to(&error),
        }
    }
}

fn no_template(name: &str) -> Answer {
    Answer::error(404, format!("the template {name} does not exist"))
}
