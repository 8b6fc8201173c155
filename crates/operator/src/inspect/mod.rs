//! What the operator knows and has decided, for people to read: as documents that are made from a [`Core`](crate::Core)
//! without changing it, and that the operator and the commands `orlop explain`, `status` and `top` share.
//!
//! A cluster may have a hundred thousand claims, and whoever asks must hold up no decision. So a question is answered at a
//! bounded cost: [`claim`] looks at one claim, [`page`] at so many and says where the next page begins, and a [`Survey`]
//! goes through all of them in steps, between which the operator does its work.

mod account;
mod document;
mod outlook;
mod page;
mod performance;
mod row;
mod survey;
#[cfg(test)]
mod tests;

pub use self::{
    account::claim,
    document::{
        API_VERSION, Act, Agents, ClaimAccount, ClaimPage, ClaimRow, ClassAccount, ClassAct, ClassLimits, Content,
        Cost, DecisionAccount, Document, DriverAccount, DriverRow, ExceededAccount, ExceededLimit, Fleet,
        ForecastAccount, Governed, Growths, InodeAccount, LoadAccount, MaintenanceAccount, Measured,
        ModificationAccount, OwnerAccount, OwnerLink, PerDayAccount, PerformanceAccount, PerformanceThresholds,
        PolicyRow, PressureAccount, ProfileOrigin, Refused, SetbackAccount, SizeAccount, SourceRow, TemplateAccount,
        ThresholdAccount, Totals, UsageAccount, WriteBackAccount,
    },
    outlook::lasting,
    page::{PAGE_MAX, PageQuery, page},
    survey::{Order, ROWS_MAX, Survey, SurveyQuery},
};
